"""csv and tsv files as people have them, and the rows that each should give. Others: test_refused_tables.py."""

import csv
import gzip
import io
import random
import zipfile
from pathlib import Path

import pyarrow
import pytest

from pairft.data import files, quotes, table_files
from pairft.data.readers import batches_of
from pairft.errors import UserError

Row = tuple[str, str, str]
X: list[Row] = [("a", "b", "1")]
TWO: list[Row] = [("a", "b", "1"), ("c", "d", "0")]


def read(path: Path) -> list[Row]:
    """Columns a, b and y of each row."""
    return [(row["a"], row["b"], row["y"]) for row in files.read_files([path], ("a", "b"), "y").to_list()]


def zipped(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    """A zip archive. In names of members, a dot is written _ and a slash __."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return file.getvalue()


PLAIN = b"a,b,y\na,b,1\nc,d,0\n"
LONG = b"x" * 3_000_000
READ: dict[str, tuple[str, bytes, list[Row]]] = {
    # quotes and line ends
    "a comma in quotes": ("t.csv", b'a,b,y\n"a, a",b,1\n', [("a, a", "b", "1")]),
    "doubled quotes": ("t.csv", b'a,b,y\n"say ""no""","""",1\n', [('say "no"', '"', "1")]),
    "line ends in quotes": ("t.csv", b'a,b,y\n"a\n\na","b\r\nb",1\nc,d,0\n', [("a\n\na", "b\r\nb", "1"), TWO[1]]),
    "quotes within fields": ("t.csv", b'a,b,y\n5" nails,say "no",1\n', [('5" nails', 'say "no"', "1")]),
    "quotes within and around": ("t.csv", b'a,b,y\n5" nails,"x, ""y""",1\n', [('5" nails', 'x, "y"', "1")]),
    "quotes behind a blank are text": ("t.csv", b'a,b,y\n "a",b,1\n', [(' "a"', "b", "1")]),
    "all fields in quotes": ("t.csv", b'"a","b","y"\n"a","b","1"\n', X),
    "blanks around fields are kept": ("t.csv", b"a,b,y\n a ,b\t,1\n", [(" a ", "b\t", "1")]),
    "Windows line ends": ("t.csv", PLAIN.replace(b"\n", b"\r\n"), TWO),
    "line ends of an old Macintosh": ("t.csv", PLAIN.replace(b"\n", b"\r"), TWO),
    "mixed line ends": ("t.csv", b"a,b,y\r\na,b,1\rc,d,0\n\r\n", TWO),
    "no last line end": ("t.csv", PLAIN.rstrip(), TWO),
    "a quote as the last byte": ("t.csv", b'a,b,y\na,b,"1"', X),
    "blank lines": ("t.csv", b"\n\n" + PLAIN.replace(b"\n", b"\n\n"), TWO),
    "empty fields": ("t.csv", b'a,b,y\n,"",1\n', [("", "", "1")]),
    "a NUL in a field": ("t.csv", b"a,b,y\na\0a,b,1\n", [("a\0a", "b", "1")]),
    "3 MB in a field": ("t.csv", b"a,b,y\na,b,1\n" + LONG + b",d,0\n", [X[0], (LONG.decode(), "d", "0")]),
    "3 MB in quotes": ("t.csv", b'a,b,y\na,b,1\n"' + LONG + b'\n",d,0\n', [X[0], (LONG.decode() + "\n", "d", "0")]),
    "text like a number": (
        "t.csv",
        b"a,b,y\n007,1e5,NA\nnull,1998-01-01,\n",
        [("007", "1e5", "NA"), ("null", "1998-01-01", "")],
    ),
    # the header
    "blanks around names": ("t.csv", b" a , b,y \na,b,1\n", X),
    "quotes around names": ("t.csv", b'"a",b,"y"\na,b,1\n', X),
    "a line end in a name": ("t.csv", b'"the\nid",a,b,y\n7,a,b,1\n', X),
    "a quote in a name": ("t.csv", b'5" x,a,b,"an ""y""",y\n7,a,b,8,1\n', X),
    "an index": ("t.csv", b",a,b,y\n0,a,b,1\n", X),
    "an index in quotes": ("t.csv", b'"","a","b","y"\n"0","a","b","1"\n', X),
    "columns without a name at the end": ("t.csv", b"a,b,y,,\na,b,1,,\nc,d,0, ,\n", TWO),
    "names twice that nobody wants": ("t.csv", b"x,a,x,b,y\n1,a,2,b,1\n", X),
    "rows without fields above": ("t.csv", b",,\n \na,b,y\na,b,1\n", X),
    # delimiters
    "semicolons": ("t.csv", b"a;b;y\na, a;b;1\n", [("a, a", "b", "1")]),
    "semicolons and quotes": ("t.csv", b'"a";"b";"y"\n"a; a";b;1\n', [("a; a", "b", "1")]),
    "tabs": ("t.csv", b"a\tb\ty\na\tb\t1\n", X),
    "vertical bars": ("t.csv", b"a|b|y\na|b|1\n", X),
    "a tsv with commas": ("t.tsv", b"a,b,y\na,b,1\n", X),
    "a tsv with semicolons": ("t.tsv", b"a;b;y\na;b;1\n", X),
    # quotes in tsv
    "tsv: unpaired quotes": ("t.tsv", b'a\tb\ty\n"a\tb"\t1\n', [('"a', 'b"', "1")]),
    "tsv: quotes that end early": (
        "t.tsv",
        b'a\tb\ty\n"a" a\tb\t1\n"c"\td\t0\n',
        [('"a" a', "b", "1"), ('"c"', "d", "0")],
    ),
    "tsv: all fields closed": ("t.tsv", b'a\tb\ty\n"a\ta"\t"b ""b"""\t1\n', [("a\ta", 'b "b"', "1")]),
    "tsv: closed, beside others within fields": ("t.tsv", b'a\tb\ty\n"a"\t5" b\t1\n', [("a", '5" b', "1")]),
    "tsv: closed over lines": ("t.tsv", b'a\tb\ty\n"a\na"\tb\t1\nc\td\t0\n', [("a\na", "b", "1"), TWO[1]]),
    "tsv: quotes that only seem to pair": (
        "t.tsv",
        b'a\tb\ty\n"a\tb\t1\nc"\td\t0\n',
        [('"a', "b", "1"), ('c"', "d", "0")],
    ),
    "tsv: the header in quotes": ("t.tsv", b'"a"\t"b"\t"y"\na\tb\t1\n', X),
    # encodings
    "a byte order mark": ("t.csv", b"\xef\xbb\xbf" + PLAIN, TWO),
    "a byte order mark before a quote": ("t.csv", b'\xef\xbb\xbf"a",b,y\na,b,1\n', X),
    "a byte order mark in a tsv": ("t.tsv", b"\xef\xbb\xbfa\tb\ty\na\tb\t1\n", X),
    "UTF-16": ("t.csv", 'a,b,y\n"ä, ж",😀,1\n'.encode("utf-16"), [("ä, ж", "😀", "1")]),
    "UTF-16, big endian": ("t.csv", b"\xfe\xff" + "a,b,y\nä,ж,1\n".encode("utf-16-be"), [("ä", "ж", "1")]),
    "UTF-16 without a mark": ("t.tsv", "a\tb\ty\nä\tж\t1\n".encode("utf-16-le"), [("ä", "ж", "1")]),
    "UTF-16, big endian, without a mark": ("t.csv", "a,b,y\nä,ж,1\n".encode("utf-16-be"), [("ä", "ж", "1")]),
    "UTF-32": ("t.csv", "a,b,y\nä,ж,1\n".encode("utf-32"), [("ä", "ж", "1")]),
    "Excel's Unicode text": ("t.csv", 'a\tb\ty\r\n"a, ""a"""\tb\t1\r\n'.encode("utf-16"), [('a, "a"', "b", "1")]),
    "one letter of Windows-1252": ("t.csv", b"a,b,y\ncaf\xe9,b,1\n", [("café", "b", "1")]),
    "Windows-1252 with semicolons": ("t.csv", "a;b;y\n„ß“;5 €;1\n".encode("cp1252"), [("„ß“", "5 €", "1")]),
    # compressed
    "gzip": ("t.csv.gz", gzip.compress(PLAIN), TWO),
    "gzip in two parts": ("t.csv.gz", gzip.compress(PLAIN[:8]) + gzip.compress(PLAIN[8:]), TWO),
    "gzip and UTF-16": ("t.csv.gz", gzip.compress(PLAIN.decode().encode("utf-16")), TWO),
    "Zstandard": ("t.csv.zst", pyarrow.compress(PLAIN, "zstd", asbytes=True), TWO),
    "Zstandard with a mark": ("t.csv.zst", pyarrow.compress(b"\xef\xbb\xbf" + PLAIN, "zstd", asbytes=True), TWO),
    "Zstandard and Windows-1252": (
        "t.tsv.zst",
        pyarrow.compress(b"a\tb\ty\n\xfc\tb\t1\n", "zstd", asbytes=True),
        [("ü", "b", "1")],
    ),
    "zip": ("t.csv.zip", zipped(t_csv=PLAIN), TWO),
    "zip from a Macintosh": ("t.csv.zip", zipped(data__t_csv=PLAIN, __MACOSX__data___t_csv=b"\0\5"), TWO),
    "zip with a note": ("T.CSV.ZIP", zipped(read_me=b"x", x_csv=b"\xef\xbb\xbf" + PLAIN), TWO),
    "zip of a file without a suffix": ("t.csv.zip", zipped(data=PLAIN), TWO),
}


@pytest.mark.parametrize("case", READ)
def test_rows(case, tmp_path):
    name, content, rows = READ[case]
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == rows


def random_table(draw: random.Random, delimiter: str) -> tuple[str, list[list[str]]]:
    """A table as csv.writer writes it, with blank lines in between, and its rows."""
    letters = ['"', delimiter, "a", "é", "😀", " ", "'", "\\", "\n", "\r\n", '""', "NA", *draw.choice([["\0"], []])]
    rows = [["".join(draw.choices(letters, k=draw.randrange(5))) for _ in "aby"] for _ in range(draw.randrange(1, 40))]
    file = io.StringIO(newline="")
    end = draw.choice(["\n", "\r\n", "\r"])
    quoting = (
        csv.QUOTE_ALL if end == "\r" else draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    )  # it doesn't quote \n then
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    for row in [["a", "b", "y"], *rows]:
        writer.writerow(row)
        file.write(end * draw.choice([0, 0, 1]))
    return file.getvalue(), rows


@pytest.mark.parametrize("block", [1 << 20, 64])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_random_tables_are_read_as_the_csv_module_reads_them(delimiter, block, tmp_path, monkeypatch):
    """With blocks that are smaller than a row, too: those of the scan for quotes, and of pyarrow."""
    monkeypatch.setattr(quotes, "BLOCK", block)
    monkeypatch.setattr(table_files, "BLOCK_SIZES", (block, 1 << 20))
    draw = random.Random(0)
    for number in range(60):
        content, rows = random_table(draw, delimiter)
        assert [row for row in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter) if row][1:] == rows
        path = tmp_path / f"{number}.csv"
        path.write_bytes(content.encode())
        found = pyarrow.Table.from_batches(batches_of([path], ["a", "b", "y"], "y")).to_pylist()
        assert [list(row.values()) for row in found] == rows, content


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_random_quotes_are_judged_as_the_csv_module_judges_them(delimiter, tmp_path, monkeypatch):
    """Text that nobody wrote as a table: the same rows, or an error where the csv module has one."""
    monkeypatch.setattr(quotes, "BLOCK", 7)
    draw, outcomes = random.Random(1), []
    for number in range(400):
        content = f"a{delimiter}b\n" + "".join(
            draw.choices(['"', '"', delimiter, "x", "\n", "é"], k=draw.randrange(12))
        )
        path = tmp_path / f"{number}.{'csv' if delimiter == ',' else 'tsv'}"
        path.write_bytes(content.encode())
        try:
            wanted = [r for r in csv.reader(io.StringIO(content, newline=""), strict=True, delimiter=delimiter) if r][
                1:
            ]
            error = any(len(row) != 2 for row in wanted)
        except csv.Error:
            error = True
        as_text = [line.split(delimiter) for line in content.split("\n")[1:] if line]
        even_as_text = all(len(row) == 2 for row in as_text)
        if delimiter == "\t" and (error or (even_as_text and len(as_text) != len(wanted))):
            wanted, error = as_text, not even_as_text
        try:
            batches = list(batches_of([path], ["a", "b"], None)) if wanted or error else []
            found = [list(row.values()) for batch in batches for row in batch.to_pylist()]
            assert not error and found == wanted, content
        except UserError:
            assert error, content
        outcomes.append(error)
    assert 40 < sum(outcomes) < 360
