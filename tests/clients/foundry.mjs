// cast speaks to a node, and the node and anvil are asked the same: what both must agree on is compared byte for byte,
// and of the rest the fields they answer with.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createServer } from "node:net";

import { CHAIN_ID, KEYS, RPC, TOKEN } from "./here.mjs";

const require = createRequire(import.meta.url);
const program = (name) => join(dirname(require.resolve(`@foundry-rs/${name}-linux-amd64/package.json`)), "bin", name);
const quiet = { encoding: "utf8", env: { ...process.env, FOUNDRY_DISABLE_NIGHTLY_WARNING: "1", NO_PROXY: "*" } };
const cast = (...args) => execFileSync(program("cast"), args, quiet).trim();
const port = await new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const ANVIL = `http://127.0.0.1:${port}`;
const anvil = spawn(program("anvil"), ["--port", port, "--chain-id", CHAIN_ID, "--hardfork", "osaka", "--silent"], { stdio: "ignore" });
process.on("exit", () => anvil.kill("SIGKILL"));

async function ask(url, method, params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  return answer.json();
}

for (let tries = 0; ; tries++) {
  try { await ask(ANVIL, "eth_chainId", []); break; } catch (error) {
    if (tries === 100) throw error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// A new account on both, so that nonces, and with them addresses and hashes of transactions, are the same.
const wallet = JSON.parse(cast("wallet", "new", "--json"))[0];
const [address, key] = [wallet.address, wallet.private_key];
const both = async (work) => Promise.all([work(RPC), work(ANVIL)]);
const send = (url, from, ...args) => JSON.parse(cast("send", "--json", "--rpc-url", url, "--private-key", from, "--gas-price", "10gwei", "--priority-gas-price", "1gwei", ...args));

assert.equal(cast("chain-id", "--rpc-url", RPC), String(CHAIN_ID));
await both((url) => send(url, KEYS[0], address, "--value", "10ether"));
const deployed = await both((url) => send(url, key, "--gas-limit", "2000000", "--create", TOKEN.bytecode));
const token = deployed[0].contractAddress;
assert.equal(token, deployed[1].contractAddress);
const other = "0x00000000000000000000000000000000000000bb";
const moved = await both((url) => send(url, key, "--gas-limit", "100000", token, "transfer(address,uint256)", other, "42"));
for (const url of [RPC, ANVIL]) {
  assert.equal(cast("call", "--rpc-url", url, token, "balanceOf(address)(uint256)", other), "42");
  assert.equal(cast("balance", "--rpc-url", url, token), "0");
}

const owner = address.slice(2).toLowerCase().padStart(64, "0");
const hash = moved.map((receipt) => receipt.transactionHash);
assert.equal(hash[0], hash[1], "the same transaction has the same name on both");
// The same answer, byte for byte.
const equal = [
  ["eth_chainId", []], ["net_version", []], ["web3_sha3", ["0x1234"]],
  ["eth_getCode", [token, "latest"]], ["eth_getTransactionCount", [address, "latest"]],
  ["eth_getStorageAt", [token, "0x0", "latest"]], ["eth_getBalance", [token, "latest"]],
  ["eth_call", [{ to: token, data: "0x70a08231" + owner }, "latest"]],
  ["eth_call", [{ to: token, data: "0x95d89b41" }, "latest"]],
  ["eth_estimateGas", [{ from: other, to: address, value: "0x0" }]],
  ["eth_getUncleCountByBlockNumber", ["0x0"]], ["eth_getTransactionByHash", ["0x" + "ab".repeat(32)]],
  ["eth_getBlockByNumber", ["0xffffffff", false]], ["eth_getTransactionReceipt", ["0x" + "ab".repeat(32)]],
  ["eth_getLogs", [{ address: other, fromBlock: "0x0" }]],
];
for (const [method, params] of equal) {
  const [ours, theirs] = await both((url) => ask(url, method, params));
  assert.deepEqual(ours.result, theirs.result, `${method} ${JSON.stringify(params)}`);
  assert.equal(ours.error === undefined, theirs.error === undefined, `${method}: one of them refuses`);
}
// The same revert: code and data.
const revert = [{ from: other, to: token, data: "0xa9059cbb" + owner + "f".repeat(64) }, "latest"];
const reverts = await both((url) => ask(url, "eth_call", revert));
assert.deepEqual(reverts.map((answer) => [answer.error.code, answer.error.data])[0], [reverts[1].error.code, reverts[1].error.data]);
// The same codes for what makes no sense.
for (const [method, params] of [["eth_noSuchMethod", []], ["eth_getBalance", ["0x12", "latest"]]]) {
  const [ours, theirs] = await both((url) => ask(url, method, params));
  assert.equal(ours.error.code, theirs.error.code, method);
}
// The same transaction, receipt and block, but for where and when they are.
const PLACE = ["blockHash", "blockNumber", "blockTimestamp", "transactionIndex", "gasPrice", "effectiveGasPrice", "logIndex"];
const bare = (value) => Object.fromEntries(Object.entries(value).filter(([name]) => !PLACE.includes(name)));
const transactions = await both((url) => ask(url, "eth_getTransactionByHash", [hash[0]]));
assert.deepEqual(bare(transactions[0].result), bare(transactions[1].result));
const receipts = (await both((url) => ask(url, "eth_getTransactionReceipt", [hash[0]]))).map((answer) => {
  const receipt = bare(answer.result);
  delete receipt.blobGasPrice;
  return { ...receipt, logs: receipt.logs.map(bare) };
});
assert.deepEqual(receipts[0], receipts[1]);
const blocks = await both((url) => ask(url, "eth_getBlockByNumber", ["latest", false]));
const missing = Object.keys(blocks[1].result).filter((name) => !(name in blocks[0].result));
assert.deepEqual(missing.filter((name) => !["totalDifficulty", "blobGasPrice"].includes(name)), [], "fields that anvil's block has");

console.log(`cast and anvil: token ${token} on both; ${equal.length + 6} answers agree`);
process.exit(0);
