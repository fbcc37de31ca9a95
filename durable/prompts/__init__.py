"""Questions to people: the inbox, signed links, reminders, webhooks."""
