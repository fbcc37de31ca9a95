"""The dashboard in a browser: Debian's Chromium, driven by Playwright."""
