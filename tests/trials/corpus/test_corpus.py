"""Corpora: fixed order, disjoint validation, nested budgets, and helpful error messages."""

from __future__ import annotations

import json
import platform
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeplaw.trials.corpus import Corpus, canonical, open_corpus, vocabulary
from sweeplaw.trials.corpus.names import canonical_tokenizer
from sweeplaw.trials.corpus.order import batches, positions
from sweeplaw.trials.corpus.shuffle import Shuffle
from sweeplaw.trials.corpus.streams import split_documents, split_tokens
from sweeplaw.trials.errors import InputError


@pytest.mark.heavy
@given(size=st.integers(1, 5000), key=st.text(max_size=5))
@settings(deadline=None, max_examples=60)
def test_a_shuffle_is_a_permutation(size: int, key: str) -> None:
    assert np.array_equal(np.sort(Shuffle(size, key)(np.arange(size))), np.arange(size))


def test_a_shuffle_of_a_trillion_needs_no_memory_and_is_uniform() -> None:
    size = 10**12
    drawn = Shuffle(size, "a")(np.arange(20_000))
    counts = np.bincount(drawn * 20 // size, minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-square of 19 degrees: one key in a thousand is above 43.8
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    assert not np.array_equal(drawn, Shuffle(size, "b")(np.arange(20_000)))


def _distinct(size: int) -> np.ndarray:
    """Return tokens that are their own positions."""
    return np.arange(size, dtype=np.uint32)


@pytest.mark.parametrize("split", ["documents", "tokens"])
@pytest.mark.parametrize("size", [64, 5_000, 600_000])
@pytest.mark.heavy
def test_training_and_validation_share_no_token(split: str, size: int) -> None:
    if split == "documents":
        train, validation = split_documents(np.split(_distinct(size), [size // 7, size // 2]))
    else:
        train, validation = split_tokens(_distinct(size))
    seen = np.concatenate([s.tokens[start : start + s.length] for s in (train, validation) for start in s.starts])
    assert len(np.unique(seen)) == len(seen) > 0.99 * size - 64
    held_out = len(validation.starts) * validation.length
    assert 0 < held_out < 0.2 * size


@settings(deadline=None)
@given(
    context=st.integers(1, 40),
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    size=st.sampled_from([5_000, 600_000]),
)
@pytest.mark.heavy
def test_a_larger_budget_contains_the_smaller_one(context: int, share: list[float], size: int) -> None:
    corpus = Corpus("c", 2**32, *split_tokens(_distinct(size)))
    most = min(corpus.train.windows(context), 150)
    small, large = (max(1, round(part * most)) for part in share)
    less, larger = corpus.budget(context, small * context), corpus.budget(context, large * context)
    assert np.array_equal(larger.read(np.arange(small)), less.read(np.arange(small)))
    assert len(np.unique(larger.read(np.arange(larger.size))[:, :-1])) == large * context


def test_a_window_is_contiguous_text() -> None:
    corpus = Corpus("c", 2**32, *split_tokens(_distinct(100_000)))
    windows = corpus.budget(16, 16 * 500).read(np.arange(500))
    assert windows.shape == (500, 17)
    assert (np.diff(windows, axis=1) == 1).all()


def test_budgets_are_drawn_from_the_whole_corpus() -> None:
    corpus = open_corpus("stdlib", "bytes")
    windows = corpus.budget(64, 64 * 400).shuffle(np.arange(400))
    counts = np.bincount(windows * 10 // corpus.train.windows(64), minlength=10)
    assert counts.min() > 15


def test_a_budget_larger_than_the_corpus_is_refused_with_the_available_tokens() -> None:
    corpus = open_corpus("stdlib", "bytes")
    most = corpus.train.windows(128) * 128
    assert corpus.budget(128, most).size * 128 == most
    with pytest.raises(InputError, match=rf"unique_tokens = {most + 128}.* has {most} training tokens"):
        corpus.budget(128, most + 128)
    with pytest.raises(InputError, match="validation_tokens = 1000000000"):
        corpus.held_out(128, 10**9)


def test_stdlib_is_millions_of_bytes_of_real_source() -> None:
    corpus = open_corpus("stdlib", "bytes")
    assert corpus.name == f"stdlib:{platform.python_version()}"
    assert len(corpus.train.tokens) > 5_000_000
    assert b"import" in corpus.validation.tokens.tobytes()
    assert open_corpus("stdlib", "bytes") is corpus


def test_another_pythons_stdlib_is_refused_with_both_versions() -> None:
    with pytest.raises(InputError, match=rf"Python 3\.2\.1, but this process runs {platform.python_version()}"):
        open_corpus("stdlib:3.2.1", "bytes")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stdlb", "did you mean 'stdlib'"),
        ("text:", "names no file"),
        ("tokens:x.bin", "vocab"),
        ("tokens:x.bin?vocab=9&dtyp=uint16", "did you mean 'dtype'"),
        ("tokens:x.bin?vocab=70000", "from 2 to 65536"),
        ("markov:stats=4", "did you mean 'states'"),
        ("markov:states=1", "not in"),
        *((f"markov:{odd}", "0 < spread < 100") for odd in ("tokens=0", "spread=0", "spread=100", "seed=-1")),
        ("markov:states=many", "not a number"),
    ],
)
def test_a_malformed_name_is_refused_with_what_is_accepted(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        canonical(name)


@pytest.mark.parametrize(
    "name", ["stdlib", "text:a/*.txt", "parquet:a?.parquet", "tokens:a.bin?vocab=100", "hf:org/set", "markov:states=8"]
)
def test_a_canonical_name_is_its_own_canonical_name(name: str, tmp_path: Path) -> None:
    once = canonical(name, tmp_path)
    assert canonical(once, Path("/elsewhere")) == once
    assert vocabulary(once, "bytes") > 1


def test_text_files_are_read_whole_and_in_order(tmp_path: Path) -> None:
    texts = [f"file {i}: " + "ab" * 300 for i in range(30)]
    for i, text in enumerate(texts):
        (tmp_path / f"{i:02}.txt").write_text(text)
    corpus = open_corpus(f"text:{tmp_path}/*.txt", "bytes")
    both = corpus.train.tokens.tobytes() + corpus.validation.tokens.tobytes()
    assert len(both) == sum(len(text) + 1 for text in texts)
    assert texts[0].encode() in both
    assert len(corpus.validation.tokens) >= 0.05 * len(both)
    with pytest.raises(InputError, match="matches no file"):
        open_corpus(f"text:{tmp_path}/*.md", "bytes")


def test_a_parquet_column_is_read_and_a_missing_one_lists_the_columns(tmp_path: Path) -> None:
    import polars as pl

    pl.DataFrame({"id": range(50), "body": ["some text here"] * 49 + [None]}).write_parquet(tmp_path / "p.parquet")
    corpus = open_corpus(f"parquet:{tmp_path}/p.parquet?column=body", "bytes")
    assert len(corpus.train.tokens) + len(corpus.validation.tokens) == 49 * len("some text here\0")
    with pytest.raises(InputError, match="it has: id, body"):
        open_corpus(f"parquet:{tmp_path}/p.parquet?column=bdy", "bytes")


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_a_token_file_is_memory_mapped(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "train.bin"
    np.random.default_rng(0).integers(0, 1000, 50_000).astype(dtype).tofile(path)
    corpus = open_corpus(f"tokens:{path}?vocab=1000&dtype={dtype}", "none")
    assert isinstance(corpus.train.tokens, np.memmap)
    assert corpus.train.tokens is corpus.validation.tokens
    assert corpus.budget(32, 3200).read(np.arange(100)).max() < 1000
    with pytest.raises(InputError, match="vocab = 900"):
        open_corpus(f"tokens:{path}?vocab=900&dtype={dtype}", "none")


def test_a_truncated_token_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(b"abc")
    with pytest.raises(InputError, match="no whole number"):
        open_corpus(f"tokens:{tmp_path}/t.bin?vocab=10", "none")
    with pytest.raises(InputError, match="cannot be read"):
        open_corpus(f"tokens:{tmp_path}/missing.bin?vocab=10", "none")


def test_a_column_of_a_hugging_face_data_set_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Rows(list[dict[str, str]]):
        column_names = ("text",)

    def load_dataset(path: str, config: str | None, split: str) -> Rows:
        calls.append((path, config, split))
        return Rows({"text": f"row {i} " * 20} for i in range(100))

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    corpus = open_corpus("hf:org/name?split=validation", "bytes")
    assert calls == [("org/name", None, "validation")]
    assert b"row 7 row 7" in corpus.train.tokens.tobytes() + corpus.validation.tokens.tobytes()


def test_without_the_datasets_package_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'sweeplaw\[datasets\]'"):
        open_corpus("hf:org/other", "bytes")


def test_a_tokenizer_file_gives_tokens_that_decode_to_the_text(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    texts = [f"the cat number {i} sat on the mat" for i in range(60)]
    model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["[UNK]", "<|endoftext|>"], show_progress=False
    )
    model.train_from_iterator(texts, trainer)
    model.save(str(tmp_path / "tokenizer.json"))
    for i, text in enumerate(texts):
        (tmp_path / f"{i:02}.txt").write_text(text)
    corpus = open_corpus(f"text:{tmp_path}/*.txt", str(tmp_path / "tokenizer.json"))
    assert corpus.vocabulary == model.get_vocab_size()
    decoded = model.decode(corpus.train.tokens.tolist(), skip_special_tokens=False)
    assert set(decoded.split("<|endoftext|>")) <= {*texts, ""}


def test_a_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(InputError, match="no tokenizers JSON file"):
        vocabulary("stdlib", str(tmp_path / "t.json"))


def test_corpora_of_tokens_have_no_tokenizer() -> None:
    assert canonical_tokenizer("markov:states=4", "bytes") == "none"
    with pytest.raises(InputError, match="is tokens already"):
        canonical_tokenizer("markov:states=4", "my.json")


@pytest.mark.heavy
@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 50), seed=st.integers(0, 5), begin=st.integers(0, 200), count=st.integers(1, 100))
def test_every_epoch_is_a_permutation_independent_of_where_reading_began(
    size: int, seed: int, begin: int, count: int
) -> None:
    everything = positions(size, seed, 0, begin + count)
    assert np.array_equal(positions(size, seed, begin, begin + count), everything[begin:])
    for epoch in range((begin + count) // size):
        assert np.array_equal(np.sort(everything[epoch * size : (epoch + 1) * size]), np.arange(size))


def test_seeds_see_the_same_windows_in_another_order() -> None:
    budget = Corpus("c", 2**32, *split_tokens(_distinct(100_000))).budget(16, 16 * 64)
    orders = [np.concatenate(list(batches(budget, seed, 8, 8))) for seed in (0, 1)]
    one, other = orders
    assert not np.array_equal(one, other)
    assert np.array_equal(np.sort(one[:, 0]), np.sort(other[:, 0]))


def test_two_stars_match_files_of_every_folder_below(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        folder.mkdir(exist_ok=True)
        (folder / "part.txt").write_text(f"text of {folder.name} " * 200)
    corpus = open_corpus(f"text:{tmp_path}/**/*.txt", "bytes")
    held = corpus.train.tokens.tobytes() + corpus.validation.tokens.tobytes()
    assert all(f"text of {name}".encode() in held for name in (tmp_path.name, "a", "b"))
