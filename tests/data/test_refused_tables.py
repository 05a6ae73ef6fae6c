"""csv and tsv files that can't be understood: each gives one message that names file, place and remedy."""

import gzip
import random
import zipfile

import pyarrow
import pytest
from test_columns import message_of
from test_ugly_tables import PLAIN, read, zipped

REFUSED = {
    "empty": ("t.csv", b"", ("t.csv is empty",)),
    "only blank lines": ("t.csv", b"\n\r\n \n", ("t.csv is empty",)),
    "only a mark": ("t.csv", b"\xef\xbb\xbf", ("t.csv is empty",)),
    "only a header": ("t.csv", b"a,b,y\n", ("t.csv is empty: it has no rows",)),
    "a header and blank lines": ("t.csv", b"a,b,y\n\n\n", ("t.csv is empty: it has no rows",)),
    "a field too few": (
        "t.csv",
        b"a,b,y\n\na,b,1\nc,d\n",
        ("t.csv, row 2 (line 4): 2 fields, but the header has 3 ('c,d')", "add"),
    ),
    "a field too many": (
        "t.csv",
        b'a,b,y\n"a\na",b,1\nc, d,e,0\n',
        ("t.csv, row 2 (line 4): 4 fields", "a field with commas in double quotes"),
    ),
    "a field too many in tsv": ("t.tsv", b"a\tb\ty\na\tb\tc\t1\n", ("t.tsv, row 1 (line 2): 4 fields", "write tabs")),
    "a field too many behind semicolons": (
        "t.csv",
        b"a;b;y\na;b;c;1\n",
        ("row 1 (line 2): 4 fields", "with semicolons"),
    ),
    "a row of blanks": ("t.csv", b"a,b,y\na,b,1\n \n", ("row 2 (line 3): 1 fields",)),
    "a bad row far behind": ("t.csv", b"a,b,y\n" + b"a,b,1\n" * 400_000 + b"a,b\n", ("row 400001 (line 400002)",)),
    "a quote that is not closed": (
        "t.csv",
        b'a,b,y\na,b,1\nc,"d,0\ne,f,1\n',
        ("t.csv, row 2 (line 3): a quote is not closed", "doubled"),
    ),
    "a quote that is not closed in the header": (
        "t.csv",
        b'a,b,"y\na,b,1\n',
        ("t.csv, the header: a quote is not closed",),
    ),
    "text behind quotes": (
        "t.csv",
        b'a,b,y\n"a" a,b,1\n',
        ("t.csv, row 1 (line 2): text follows a closing quote", "doubled"),
    ),
    "a blank behind quotes": ("t.csv", b'a,b,y\n"a" ,b,1\n', ("row 1 (line 2): text follows a closing quote",)),
    "a quote that is not doubled": (
        "t.csv",
        b'a,b,y\n"a "a" a",b,1\n',
        ("row 1 (line 2): text follows a closing quote",),
    ),
    "text in a column without a name": (
        "t.csv",
        b"a,b,y,\na,b,1,\nc, d,e,0\n",
        ("row 2: '0' is in a column without a name",),
    ),
    "a name twice": ("t.csv", b"a,b,y,a\na,b,1,c\n", ("t.csv: the header names the column 'a' twice", "rename")),
    "no such column": ("t.csv", b"c,d,y\na,b,1\n", ("t.csv has no column 'a'; it has: c, d, y", "--text-columns")),
    "no header": ("t.csv", b"x,z,1\na,b,1\n", ("t.csv has no column 'a'; it has: x, z, 1",)),
    "an Excel workbook": (
        "t.csv",
        zipped(xl__workbook_xml=b"<x/>"),
        ("t.csv is an Excel workbook or a zip archive, not text", "save"),
    ),
    "a PDF": ("t.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", ("t.csv is a PDF, not text",)),
    "gzip without the suffix": ("t.csv", gzip.compress(PLAIN), ("t.csv is a gzip file, not text",)),
    "a parquet file": ("t.tsv", b"PAR1\x15\x04", ("t.tsv is a parquet file",)),
    "random bytes": ("t.csv", random.Random(0).randbytes(5000), ("t.csv is not text", "UTF-8")),
    "NULs": ("t.csv", b"\0" * 5000, ("t.csv is not text",)),
    "UTF-8 with one wrong byte": (
        "t.csv",
        "a,b,y\nä,ö,1\n".encode() + b"\xfc,b,1\n",
        ("t.csv, line 3 is not UTF-8 text (byte 0xfc)",),
    ),
    "UTF-16 cut short": ("t.csv", "a,b,y\na,b,1\n".encode("utf-16")[:-1], ("t.csv is not UTF-16 text",)),
    "not quite Windows-1252": (
        "t.csv",
        b"a,b,y\ncaf\xe9,b,1\n\x81,b,1\n",
        ("t.csv, line 3 is not Windows-1252 text (byte 0x81)",),
    ),
    "gzip cut short": ("t.csv.gz", gzip.compress(PLAIN)[:-9], ("t.csv.gz is damaged, or not a gzip file",)),
    "gzip in name only": ("t.csv.gz", PLAIN, ("t.csv.gz is damaged, or not a gzip file", "plain file")),
    "Zstandard cut short": (
        "t.csv.zst",
        pyarrow.compress(PLAIN, "zstd", asbytes=True)[:-3],
        ("t.csv.zst is damaged, or not a Zstandard file",),
    ),
    "Zstandard in name only": (
        "t.tsv.zst",
        b"a\tb\ty\na\tb\t1\n" * 9,
        ("t.tsv.zst is damaged, or not a Zstandard file",),
    ),
    "zip in name only": ("t.csv.zip", PLAIN, ("t.csv.zip is damaged, or not a zip file",)),
    "zip with a wrong checksum": (
        "t.csv.zip",
        zipped(zipfile.ZIP_STORED, t_csv=PLAIN).replace(b"a,b,1", b"a,c,1"),
        ("t.csv.zip is damaged, or not a zip file",),
    ),
    "zip of two tables": (
        "t.csv.zip",
        zipped(a_csv=PLAIN, b_csv=PLAIN),
        ("t.csv.zip holds a.csv, b.csv, not one .csv file",),
    ),
    "zip of another kind": ("t.csv.zip", zipped(a_xml=PLAIN, b_xml=PLAIN), ("t.csv.zip holds a.xml, b.xml", "unpack")),
    "an empty zip": ("t.csv.zip", zipped(), ("t.csv.zip is empty",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_messages(case, tmp_path):
    name, content, words = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    message = message_of(read, tmp_path / name)
    assert all(word in message for word in words) and "\n" not in message, message
