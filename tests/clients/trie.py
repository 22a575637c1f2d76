"""The walk through a Merkle-Patricia proof: the value under keccak(key) in the trie of `root`, or None if there is none."""

import rlp
from eth_utils import keccak


def walk(root, key, nodes):
    path, at, want = keccak(key).hex(), 0, root
    if not nodes:
        assert root == keccak(rlp.encode(b"")), "only the empty trie proves with nothing"
        return None
    for encoded in nodes:
        assert keccak(encoded) == want, "a proof node is not the one its parent names"
        node = rlp.decode(encoded)
        while True:
            if len(node) == 17:
                node, at = node[int(path[at], 16)], at + 1
            else:
                flag, rest = node[0][0] >> 4, node[0].hex()
                rest = rest[1:] if flag & 1 else rest[2:]
                fits = path.startswith(rest, at)
                if flag & 2:
                    return node[1] if fits and at + len(rest) == len(path) else None
                if not fits:
                    return None
                node, at = node[1], at + len(rest)
            if node == b"":
                return None
            if isinstance(node, bytes):
                break
        want = node
    raise AssertionError("the proof ends before the key does")
