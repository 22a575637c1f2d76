// The compiler is the pinned one of npm, and the sources are the chain's own: the same bytes as the committed artefacts.

import { createRequire } from "node:module";

import hardhatEthers from "@nomicfoundation/hardhat-ethers";
import hardhatNodeTestRunner from "@nomicfoundation/hardhat-node-test-runner";

const require = createRequire(import.meta.url);

export default {
  plugins: [hardhatEthers, hardhatNodeTestRunner],
  solidity: {
    compilers: [{
      version: "0.8.37",
      path: require.resolve("solc/soljson.js"),
      settings: {
        optimizer: { enabled: true, runs: 200 },
        evmVersion: "osaka",
        metadata: { bytecodeHash: "none", appendCBOR: false },
      },
    }],
  },
  paths: { sources: "./contracts" },
  networks: {
    openledger: {
      type: "http",
      chainType: "l1",
      url: process.env.OPENLEDGER_RPC,
      chainId: 1337,
      // Everybody knows these keys: `openledger devnet` prints them.
      accounts: [
        "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
        "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
      ],
    },
  },
};
