"""Checks a light proof as consensus/evm/src/light describes it, with nothing of the chain's own code:

    python verify_proof.py PROOF GENESIS [GENESIS_HASH]

Trusts the validators of the genesis file. Without GENESIS_HASH the one in the proof is taken: those validators signed
for it, but whether it is the hash of this file takes an executor of the file to know."""

import base64
import json
import sys
from decimal import Decimal

import rlp
from eth_utils import keccak
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from trie import walk

unhex = lambda text: bytes.fromhex(text[2:])
integer = lambda text: rlp.sedes.big_endian_int.serialize(int(text, 0) if isinstance(text, str) else text)
nodes = lambda texts: [base64.b64decode(text, validate=True) for text in texts]
EMPTY = [b"", b"", keccak(rlp.encode(b"")), keccak(b"")]


def powers(ours):
    chosen = {v["key"]: int(Decimal(v["stake"].split()[0]) * 10**18) for v in ours["validators"]}
    shift = max(0, sum(chosen.values()).bit_length() - 40)
    return {key: max(1, stake >> shift) for key, stake in chosen.items()}


def check(proof, genesis, genesis_hash):
    chain_id, ours = genesis["config"]["chainId"], genesis["config"]["openledger"]
    assert proof["format"] == "openledger/light-proof/1", "another format"
    assert (proof["chainId"], unhex(proof["genesis"])) == (chain_id, genesis_hash), "another chain"
    header = base64.b64decode(proof["header"], validate=True)
    fields, block, certificate = rlp.decode(header), keccak(header), proof["certificate"]
    number = int.from_bytes(fields[8], "big")
    preimage = b"openledger/vote/1" + chain_id.to_bytes(8, "big") + genesis_hash + b"\1" + number.to_bytes(8, "big")
    preimage += certificate["round"].to_bytes(4, "big") + b"\1" + block
    power, signers = powers(ours), [key for key, _ in certificate["signatures"]]
    assert number > 0 and signers == sorted(set(signers)), "signatures are not in order"
    assert 3 * sum(power[key] for key in signers) > 2 * sum(power.values()), "too little power signed"
    for key, signature in certificate["signatures"]:
        # libsodium is stricter than ZIP-215 about keys and points of small order, which no honest validator has.
        VerifyKey(unhex(key)).verify(preimage, base64.b64decode(signature, validate=True))
    account = proof["account"]
    leaf = [integer(account["nonce"]), integer(account["balance"]), unhex(account["storageRoot"]), unhex(account["codeHash"])]
    found = walk(fields[3], unhex(account["address"]), nodes(account["proof"]))
    assert found == (None if leaf == EMPTY else rlp.encode(leaf)), "the account is not in this state"
    for slot in account["slots"]:
        value = integer(slot["value"])
        found = walk(leaf[2], unhex(slot["slot"]), nodes(slot["proof"]))
        assert found == (rlp.encode(value) if value else None), f"slot {slot['slot']} holds something else"
    return f"block {number} 0x{block.hex()}: {account['address']} has {int(account['balance'], 0)} and nonce {account['nonce']}"


if __name__ == "__main__":
    proof, genesis = (json.load(open(name)) for name in sys.argv[1:3])
    try:
        print(check(proof, genesis, unhex(sys.argv[3] if len(sys.argv) > 3 else proof["genesis"])))
    except (AssertionError, BadSignatureError, KeyError, ValueError) as error:
        sys.exit(f"does not hold: {error!r}")
