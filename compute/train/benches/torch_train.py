"""The other side of `train.rs`: PEFT and torch.optim.AdamW in float32 on the shape of SmolLM2 135M, every token counted.

    torch_train.py THREADS ROWS TOKENS STEPS    prints seconds of the fastest step, and MiB of memory at most
"""

import resource, sys, time
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    threads, rows, tokens, steps = map(int, sys.argv[1:5])
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536,
        num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True, use_cache=False))
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules="all-linear")
    model = get_peft_model(model, config).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
    times = []
    for _ in range(steps + 1):
        ids = torch.randint(3, 40000, (rows, tokens))
        start = time.perf_counter()
        optimiser.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        times.append(time.perf_counter() - start)
    print(min(times[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


main()
