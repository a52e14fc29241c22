// Compiles the contracts beside it with the compiler that package.json names.
//   node build.mjs           writes NAME.json for each NAME.sol
//   node build.mjs --check   compiles again and compares; exit code 1 where anything differs
// What is written holds the ABI, the bytecode and everything it depends on, so that building the
// network needs no compiler for contracts.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const CONTRACTS = ["TestToken", "Disperse"];
const SETTINGS = {
  optimizer: { enabled: true, runs: 10000 },
  // Every chain that masq settles on has what Cancun brought.
  evmVersion: "cancun",
  // No hash of the metadata at the end of the bytecode: it would change with a comment.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

const args = process.argv.slice(2);
if (args.some((arg) => arg !== "--check")) {
  console.error("usage: node build.mjs [--check]");
  process.exit(64);
}
const wanted = JSON.parse(readFileSync(join(here, "package.json"), "utf8")).devDependencies.solc;
if (!solc.version().startsWith(`${wanted}+`)) {
  console.error(`the compiler is ${solc.version()}, package.json wants ${wanted}: run npm ci`);
  process.exit(1);
}

const sources = Object.fromEntries(
  CONTRACTS.map((name) => [`${name}.sol`, { content: readFileSync(join(here, `${name}.sol`), "utf8") }]),
);
const input = {
  language: "Solidity",
  sources,
  settings: {
    ...SETTINGS,
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const messages = output.errors ?? [];
for (const message of messages) console.error(message.formattedMessage);
// A warning in thirty lines of contract is a mistake.
if (messages.length > 0) process.exit(1);

let differ = 0;
for (const name of CONTRACTS) {
  const { abi, evm } = output.contracts[`${name}.sol`][name];
  const artifact = {
    contract: name,
    compiler: solc.version(),
    settings: SETTINGS,
    sourceSha256: createHash("sha256").update(sources[`${name}.sol`].content).digest("hex"),
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  };
  const text = `${JSON.stringify(artifact, null, 2)}\n`;
  const path = join(here, `${name}.json`);
  if (args.includes("--check")) {
    let committed = "";
    try {
      committed = readFileSync(path, "utf8");
    } catch {
      // Missing is different, too.
    }
    const same = committed === text;
    console.log(`${name}.json: ${same ? "is what its source compiles to" : "DIFFERS; run node build.mjs"}`);
    if (!same) differ += 1;
  } else {
    writeFileSync(path, text);
    console.log(`${name}.json: ${evm.deployedBytecode.object.length / 2} bytes of code`);
  }
}
process.exit(differ > 0 ? 1 : 0);
