"""CLIP's tokenizer: text -> ids; from a published folder, from OpenAI's own file, or learnt on captions.

Byte-pair encoding (arXiv:1508.07909) over the 256 bytes, written as printable characters (GPT-2's table), a word's last
symbol marked by `</w>`; learning repeats: merge the adjacent pair that is most frequent over the words of the corpus.

    ids: 0..255 bytes, 256..511 bytes that end a word, then one id a merge, then <|startoftext|>, <|endoftext|>

The reading is transformers' CLIPTokenizer. Stable Diffusion 2 pads with "!" (id 0), SD1 with <|endoftext|>; where "!"
is the pad token each "!" of a prompt becomes 0 as well, and so it was when the published models were trained.
"""

import collections
import dataclasses
import gzip
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jax3d.io.hub import ASSETS
from jax3d.io.weights import write_json

Tokenizer = Any  # transformers' CLIPTokenizer; importing it takes seconds, so it is imported where it is needed
Pair = tuple[str, str]
START, END = "<|startoftext|>", "<|endoftext|>"
OPENAI_FILE = ASSETS / "clip-tokenizer" / "bpe_simple_vocab_16e6.txt.gz"  # its first 48,894 merges, all that is used
OPENAI_MERGES = 49152 - 256 - 2
SMALL = 10_000  # below this many tokens a vocabulary belongs to a small world


def clip_tokenizer() -> type:
    """transformers' CLIPTokenizer, without the advice to install PyTorch."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import CLIPTokenizer

    return CLIPTokenizer


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """transformers' CLIPTokenizer of a folder (vocab.json and merges.txt, or tokenizer.json); ValueError names it."""
    folder = Path(folder)
    whole = (folder / "tokenizer.json").is_file()
    for name in () if whole else ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} does not exist; a tokenizer folder holds vocab.json and merges.txt.")
    try:
        tokenizer = clip_tokenizer().from_pretrained(str(folder), local_files_only=True)
        vocabulary = tokenizer.get_vocab()
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise ValueError(
            f"{folder} is no readable tokenizer ({str(error).splitlines()[0]}); download it again."
        ) from None
    if START not in vocabulary or END not in vocabulary:
        raise ValueError(f"{folder} lacks {START} or {END}, so it is no CLIP tokenizer; download it again.")
    return tokenizer


def openai_tokenizer(pad_token: str = END, length: int = 77) -> Tokenizer:
    """The tokenizer of every published CLIP, from OpenAI's file of merges; `pad_token` "!" for Stable Diffusion 2."""
    lines = gzip.decompress(OPENAI_FILE.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : OPENAI_MERGES + 1]]
    return clip_tokenizer()(
        vocabulary_of(merges), merges, pad_token=pad_token, model_max_length=length, clean_up_tokenization_spaces=False
    )


def tokenize(tokenizer: Tokenizer, prompts: Sequence[str], length: int | None = None) -> Int[np.ndarray, "b n"]:
    """Ids [b, n] of the prompts, cut and padded to `length`, or else to the tokenizer's model_max_length."""
    length = min(tokenizer.model_max_length, length or tokenizer.model_max_length)
    if length > 10**6:
        raise ValueError("the tokenizer states no model_max_length; give the length of the text model.")
    batch = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length)
    return np.asarray(batch["input_ids"], np.int32)


def unknown_words(tokenizer: Tokenizer, prompt: str) -> list[str]:
    """The words of the prompt that are no whole token of a small vocabulary; none for the large ones."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) >= SMALL:
        return []
    words = [(word, symbols) for word, symbols in split_words(tokenizer, prompt) if word.isalpha()]
    return list(dict.fromkeys(word for word, symbols in words if f"{symbols}</w>" not in vocabulary))


def split_words(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    """(word, the same in byte symbols) as CLIP cuts a text: runs of letters, single digits, runs of signs."""
    backend = tokenizer.backend_tokenizer
    clean = backend.normalizer.normalize_str(text)
    return [(clean[a:b], symbols) for symbols, (a, b) in backend.pre_tokenizer.pre_tokenize_str(clean)]


def train_bpe(captions: Sequence[str], size: int, length: int, folder: str | Path) -> Tokenizer:
    """Learn a vocabulary of at most `size` tokens and write the tokenizer folder; returns it loaded.

    Stops earlier when every word has become one token. `length` = ids a prompt, with start and end.
    """
    least = 2 * len(BYTES) + 2
    if size < least:
        raise ValueError(f"a CLIP vocabulary has {least} tokens before any merge, got size {size}; give more.")
    blank = clip_tokenizer()()
    counts = collections.Counter(w for caption in captions for _, w in split_words(blank, caption))
    merges = learn_merges(counts, size - least)
    write_tokenizer(folder, vocabulary_of(merges), merges, length)
    return load_tokenizer(folder)


def learn_merges(counts: collections.Counter[str], most: int) -> list[Pair]:
    """Up to `most` merges of byte-pair encoding on words with their counts; ties go to the first in the alphabet."""
    words = {(*word[:-1], word[-1] + "</w>"): count for word, count in counts.items()}
    merges = []
    while len(merges) < most:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        words = {merge(word, merges[-1]): count for word, count in words.items()}
    return merges


def merge(word: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    """The word with every occurrence of the pair, from the left, made one symbol."""
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def vocabulary_of(merges: Sequence[Pair]) -> dict[str, int]:
    """Ids in CLIP's order: bytes, bytes that end a word, merges, start, end."""
    tokens = [*BYTES, *(b + "</w>" for b in BYTES), *("".join(pair) for pair in merges), START, END]
    return {token: i for i, token in enumerate(tokens)}


def write_tokenizer(
    folder: str | Path, vocabulary: dict[str, int], merges: Sequence[Pair], length: int, pad_token: str = END
) -> None:
    """The four files of a published tokenizer folder, which transformers 4 and 5 read."""
    folder = Path(folder)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad_token}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "special_tokens_map.json", special)
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True, **special}
    write_json(folder / "tokenizer_config.json", {"add_prefix_space": False, "errors": "replace", **config})


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a loaded tokenizer back as a published folder."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [tuple(m.split()) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    write_tokenizer(folder, model["vocab"], merges, int(tokenizer.model_max_length), str(tokenizer.pad_token))


def _byte_symbols() -> list[str]:
    """GPT-2's characters for the 256 bytes: the printable ones stand for themselves, the others follow from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]


BYTES = _byte_symbols()


def sized(config: Any, tokenizer: Tokenizer) -> Any:
    """A text tower's config for the tokenizer's vocabulary and special tokens."""
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return dataclasses.replace(config, vocab_size=len(tokenizer), **special)
