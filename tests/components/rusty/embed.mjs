// Makes a component of a core module: node embed.mjs world.wit host.wit core.wasm out.wasm
import { componentEmbed, componentNew } from "@bytecodealliance/jco";
import { readFile, writeFile } from "node:fs/promises";

const [world, host, core, out] = process.argv.slice(2);
const nested = (await readFile(host, "utf8")).replace(/package ([^;]+);/, "package $1 {") + "}\n";
const witSource = (await readFile(world, "utf8")) + nested;
const typed = await componentEmbed({ binary: await readFile(core), witSource, world: "rusty" });
await writeFile(out, await componentNew(typed, []));
