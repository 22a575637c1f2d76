"""The other side of `speed.rs`: PyTorch eager in float32, asked over standard input.

    decode ROWS CONTEXT   seconds of one step of ROWS sequences that have CONTEXT tokens
    prefill ROWS TOKENS   seconds until the first token of ROWS prompts of TOKENS tokens
"""

import sys, time
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SHAPES = {
    "135m": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536,
        num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)),
    "0.5b": lambda: Qwen2ForCausalLM(Qwen2Config(vocab_size=151936, hidden_size=896, intermediate_size=4864,
        num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True)),
}


def prefill(model, rows, tokens):
    ids = torch.randint(3, 40000, (rows, tokens))
    cache = DynamicCache()
    start = time.perf_counter()
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return time.perf_counter() - start, cache


def main():
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv[2]))
    dtype = getattr(torch, sys.argv[3]) if len(sys.argv) > 3 else torch.float32
    model = SHAPES[sys.argv[1]]().to(dtype).eval()
    print("ready", torch.__version__, flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            what, rows, tokens = line.split()
            seconds, cache = prefill(model, int(rows), int(tokens))
            if what == "decode":
                times = []
                for _ in range(6):
                    ids = torch.randint(3, 40000, (int(rows), 1))
                    start = time.perf_counter()
                    model(input_ids=ids, past_key_values=cache, use_cache=True)
                    times.append(time.perf_counter() - start)
                seconds = min(times)
            print(seconds, flush=True)


main()
