// viem: connect, send, deploy, call, read logs, subscribe, and check a proof with viem's own hash and RLP.

import assert from "node:assert/strict";
import {
  createPublicClient, createWalletClient, defineChain, fromRlp, http, keccak256, numberToHex, parseEther, toRlp, webSocket,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";

import { CHAIN_ID, KEYS, RPC, TOKEN, WS, balanceSlot, checkProof, within } from "./here.mjs";

const chain = defineChain({
  id: CHAIN_ID,
  name: "development",
  nativeCurrency: { name: "OPEN", symbol: "OPEN", decimals: 18 },
  rpcUrls: { default: { http: [RPC], webSocket: [WS] } },
});
const account = privateKeyToAccount(KEYS[0]);
const other = privateKeyToAccount(KEYS[1]).address;
const node = createPublicClient({ chain, transport: http(), pollingInterval: 50 });
const wallet = createWalletClient({ account, chain, transport: http() });
const receipt = (hash) => node.waitForTransactionReceipt({ hash, timeout: 20_000 });

assert.equal(await node.getChainId(), CHAIN_ID);

// Heads, counted while the rest happens.
const live = createPublicClient({ chain, transport: webSocket(WS) });
const heads = [];
let enough;
const three = new Promise((resolve) => { enough = resolve; });
const { unsubscribe } = await live.transport.subscribe({
  params: ["newHeads"],
  onData: ({ result }) => { if (heads.push(BigInt(result.number)) === 3) enough(); },
  onError: (error) => assert.fail(error),
});

const before = await node.getBalance({ address: other });
const paid = await receipt(await wallet.sendTransaction({ to: other, value: parseEther("1.5") }));
assert.equal(paid.status, "success");
assert.equal((await node.getBalance({ address: other })) - before, parseEther("1.5"));

const { abi, bytecode } = TOKEN;
const { contractAddress: address } = await receipt(await wallet.deployContract({ abi, bytecode }));
const token = { address, abi };
assert.equal(await node.readContract({ ...token, functionName: "symbol" }), "TEST");
const moved = await receipt(await wallet.writeContract({ ...token, functionName: "transfer", args: [other, 42n] }));
assert.equal(await node.readContract({ ...token, functionName: "balanceOf", args: [other] }), 42n);
const range = { fromBlock: moved.blockNumber, toBlock: moved.blockNumber };
const logs = await node.getContractEvents({ ...token, eventName: "Transfer", ...range });
assert.deepEqual(logs.map((log) => log.args), [{ from: account.address, to: other, value: 42n }]);

// A revert comes back as the contract's own error, by name.
const nobody = "0x00000000000000000000000000000000000000bb";
const broke = node.simulateContract({ ...token, functionName: "transfer", args: [other, 1n], account: nobody });
await assert.rejects(broke, /BalanceTooSmall/);

const own = {
  keccak256,
  decode: (bytes) => fromRlp(bytes, "hex"),
  encode: (value) => toRlp(value),
  number: (value) => (BigInt(value) === 0n ? "0x" : even(numberToHex(BigInt(value)))),
};
function even(hex) { return hex.length % 2 ? "0x0" + hex.slice(2) : hex; }
const block = await node.getBlock({ blockNumber: moved.blockNumber });
const slots = [balanceSlot(keccak256, other), balanceSlot(keccak256, address)];
const proof = await node.getProof({ address, storageKeys: slots, blockNumber: block.number });
assert.equal(proof.storageProof[0].value, 42n);
checkProof(own, block.stateRoot, proof);
checkProof(own, block.stateRoot, await node.getProof({ address: other, storageKeys: [], blockNumber: block.number }));

await within(15, "three heads", three);
await unsubscribe();
heads.forEach((head, index) => assert.equal(head, heads[0] + BigInt(index), "a head was left out"));
console.log(`viem: token ${address} at block ${moved.blockNumber}, ${heads.length} heads in order, proofs hold`);
process.exit(0);
