"""CLIP's tokenizer: published ids, SD2's pad token, and a vocabulary learnt from captions."""

import collections
import json

import numpy as np
import pytest
from transformers import AutoTokenizer, CLIPTokenizer

from jax3d.prior.tokenizer import (
    learn_merges,
    load_tokenizer,
    openai_tokenizer,
    save_tokenizer,
    tokenize,
    train_bpe,
    unknown_words,
)

CAPTIONS = [f"a {c} {k} with {d} legs, {v}" for c in ("red", "green", "blue") for k in ("chair", "table", "lamp")
            for d in ("dark", "white") for v in ("front view", "back view, from above")]  # fmt: skip


@pytest.fixture(scope="module")
def openai():
    return openai_tokenizer()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    return train_bpe(CAPTIONS, 2000, 16, folder), folder


def test_published_ids(openai):
    """Known ids of openai/CLIP: 49406 start, 49407 end, 320 "a", 1125 "photo", 539 "of", 2368 "cat"."""
    ids = tokenize(openai, ["a photo of a cat", ""])
    assert ids.shape == (2, 77) and ids.dtype == np.int32
    assert ids[0, :7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert set(ids[0, 7:]) == set(ids[1, 1:]) == {49407}
    assert len(openai.get_vocab()) == 49408


def test_pad_token_of_stable_diffusion_2(openai, tmp_path):
    """Exclamation marks of the prompt become the pad token's id where "!" is that; "!!!" is one token else."""
    save_tokenizer(openai_tokenizer(pad_token="!"), tmp_path / "sd2")
    two = load_tokenizer(tmp_path / "sd2")
    assert tokenize(two, ["8k!!!"], 10)[0].tolist() == [49406, 279, 330, 0, 0, 0, 49407, 0, 0, 0]
    assert tokenize(openai, ["8k!!!"], 7)[0].tolist() == [49406, 279, 330, 995, 49407, 49407, 49407]


def test_long_prompts_end_with_the_end_token(openai):
    ids = tokenize(openai, ["word " * 200])[0]
    assert ids[0] == 49406 and ids[-1] == 49407 and 49407 not in ids[:-1]


def test_written_folder_is_read_back(openai, tmp_path):
    save_tokenizer(openai, tmp_path)
    prompts = ["A Photo, of  a CAT's tail 42", "naïve 日本 🙂"]
    np.testing.assert_array_equal(tokenize(load_tokenizer(tmp_path), prompts), tokenize(openai, prompts))
    np.testing.assert_array_equal(tokenize(AutoTokenizer.from_pretrained(tmp_path), prompts), tokenize(openai, prompts))


def test_every_word_of_the_world_is_one_token(small):
    tokenizer, folder = small
    for caption in CAPTIONS:
        pieces = caption.replace(",", " ,").split()
        assert tokenizer.convert_ids_to_tokens(tokenizer(caption)["input_ids"])[1:-1] == [f"{p}</w>" for p in pieces]
        assert unknown_words(tokenizer, caption) == []
    vocabulary = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) < 2000  # stopped when all words were whole


def test_other_programs_read_the_folder(small):
    tokenizer, folder = small
    for theirs in (AutoTokenizer.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)):
        np.testing.assert_array_equal(tokenize(theirs, CAPTIONS), tokenize(tokenizer, CAPTIONS))
        assert theirs.model_max_length == 16 and theirs.pad_token == "<|endoftext|>"


def test_unknown_words_are_named_once_and_only_for_small_vocabularies(small, openai):
    tokenizer, _ = small
    assert unknown_words(tokenizer, "A purple CHAIR, a Purple zebra 7!") == ["purple", "zebra"]
    assert unknown_words(openai, "qwertzuiop zzyzx") == []


def test_unknown_words_still_have_ids(small):
    """All bytes are in the vocabulary, so nothing is lost: decoding gives the text back."""
    tokenizer, _ = small
    assert (
        tokenizer.decode(tokenizer("an übergreen zebra")["input_ids"], skip_special_tokens=True) == "an übergreen zebra"
    )


def test_merges_by_hand():
    """aaab x2, ab x3: (a, b</w>) occurs 5 times, (a, a) 4 times; then (a, a), then (aa, ab</w>)."""
    merges = learn_merges(collections.Counter({"aaab": 2, "ab": 3}), 10)
    assert merges == [("a", "b</w>"), ("a", "a"), ("aa", "ab</w>")]
    assert learn_merges(collections.Counter({"aaab": 2}), 1) == [("a", "a")]


def test_errors(tmp_path, small):
    with pytest.raises(ValueError, match="vocab.json does not exist"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{broken")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match="no readable tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="514 tokens before any merge, got size 100"):
        train_bpe(CAPTIONS, 100, 16, tmp_path)
