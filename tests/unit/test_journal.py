"""The journal: cut at every byte, resumed, the same result; records of others are kept apart by key."""

from regime_w.sampling import journal
from regime_w.sampling.engines.interface import Completion

RECORDS = [Completion(f"k{i}", f"Zeile {i} “ü”\n\\n", (i, 2, 1), "stop") for i in range(6)]


def write(folder, records, name="0-of-1"):
    with journal.Writer(folder, name) as writer:
        for record in records:
            writer.append(record)


def test_cut_at_every_byte_offset_and_resumed(tmp_path):
    write(tmp_path / "whole", RECORDS)
    whole = (tmp_path / "whole" / "0-of-1.jsonl").read_bytes()
    keys = [record.key for record in RECORDS]
    for cut in range(len(whole) + 1):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        (folder / "0-of-1.jsonl").write_bytes(whole[:cut])
        done = journal.load(folder, keys)
        assert len(done) == whole[:cut].count(b"\n")
        write(folder, [record for record in RECORDS if record.key not in done])
        assert (folder / "0-of-1.jsonl").read_bytes() == whole
        assert journal.load(folder, keys) == {record.key: record for record in RECORDS}


def test_only_wanted_keys_and_all_files(tmp_path):
    write(tmp_path, RECORDS[:3], "0-of-2")
    write(tmp_path, RECORDS[3:], "1-of-2")
    assert set(journal.load(tmp_path, ["k0", "k5", "other"])) == {"k0", "k5"}


def test_damaged_lines_are_passed_over(tmp_path):
    bad = b'{"key": \n[1]\n"k0"\n{"key": "k1"}\n{"key": "k1", "check": 1}\n\xff\xfe\n'
    (tmp_path / "a.jsonl").write_bytes(bad + journal.line_of(RECORDS[0]))
    assert journal.load(tmp_path, ["k0", "k1"]) == {"k0": RECORDS[0]}


def test_a_record_with_any_bit_flipped_is_made_again(tmp_path):
    line = journal.line_of(Completion("k0", "#### 2", (5, 1), "stop"))
    for place in range(len(line) - 1):
        for bit in (0, 3):
            damaged = bytearray(line)
            damaged[place] ^= 1 << bit
            (tmp_path / "a.jsonl").write_bytes(damaged)
            assert journal.load(tmp_path, ["k0"]) == {}


def test_half_a_character_becomes_a_question_mark_in_text_and_check(tmp_path):
    write(tmp_path, [Completion("k0", "a\ud800b", (5, 1), "stop")])
    assert journal.load(tmp_path, ["k0"])["k0"].text == "a?b"


def test_no_folder_is_an_empty_journal(tmp_path):
    assert journal.load(tmp_path / "none", ["k0"]) == {}


def test_a_shard_reads_just_the_files_that_may_hold_its_questions():
    hashes = range(60)
    for n, m in ((4, 4), (4, 6), (5, 3), (1, 4), (12, 4)):
        for i in range(n):
            for j in range(m):
                shared = any(h % n == i and h % m == j for h in hashes)
                assert journal.may_hold(f"{i}-of-{n}", f"{j}-of-{m}") == shared
    assert journal.may_hold("base", "base")
    assert journal.may_hold("0-of-2", "sft")


def test_files_of_other_shards_are_not_read(tmp_path):
    write(tmp_path, RECORDS, "0-of-2")
    keys = [record.key for record in RECORDS]
    assert journal.load(tmp_path, keys, "1-of-2") == {}
    assert set(journal.load(tmp_path, keys, "1-of-3")) == set(keys)
