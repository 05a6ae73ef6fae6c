"""Text files in encodings other than UTF-8: recognised, said and read, for tables and JSON alike."""

import csv
import gzip
import json

import pytest
from test_ugly_tables import read

from pairft import predict

TEXTS = {
    "German": (
        "cp1252",
        "Windows-1252",
        "Die größten Städte Österreichs liegen an Flüssen. Er weiß, daß die Straße schön ist.",
    ),
    "French": (
        "cp1252",
        "Windows-1252",
        "Où est passé l’élève qui préférait la leçon d’été ? Ça m’étonne, déclara-t-elle.",
    ),
    "Spanish": (
        "cp1252",
        "Windows-1252",
        "¿Dónde está el niño que comía pingüinos? Mañana vendrá a la reunión según él.",
    ),
    "Swedish": ("cp1252", "Windows-1252", "Älgen åt äpplen på ön där räven sov. Göteborg är större än Malmö."),
    "German, Macintosh": ("mac_roman", "Mac Roman", "Die größten Städte Österreichs liegen an Flüssen."),
    "German, DOS": ("cp850", "DOS code page 850", "Die größten Städte Österreichs liegen an Flüssen."),
    "Russian": (
        "cp1251",
        "Windows-1251",
        "Быстрая лиса перепрыгнула через ленивую собаку. Кто-то спросил, сколько это стоит.",
    ),
    "Russian, Unix": (
        "koi8_r",
        "KOI8-R",
        "Быстрая лиса перепрыгнула через ленивую собаку. Кто-то спросил, сколько это стоит.",
    ),
    "Polish": (
        "cp1250",
        "Windows-1250",
        "Zażółć gęślą jaźń. Książka leży na półce, a chłopiec śpi. Wszędzie są ślady.",
    ),
    "Czech": ("cp1250", "Windows-1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Kde je nejbližší nádraží?"),
    "Greek": ("cp1253", "Windows-1253", "Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί."),
    "Hebrew": ("cp1255", "Windows-1255", "זהו משפט בעברית. כמה זה עולה? אני לא מבין כלום."),
    "Arabic": ("cp1256", "Windows-1256", "هذه جملة باللغة العربية. كم سعر هذا؟ لا أفهم شيئا."),
    "Japanese": ("cp932", "Shift JIS", "日本語の文章です。これはいくらですか。何もわかりません。"),
    "Chinese": ("gb18030", "GB18030", "这是一个中文句子。这个多少钱?我什么都不明白,但是一切都很好。"),
    "Korean": ("cp949", "Korean code page 949", "이것은 한국어 문장입니다. 얼마입니까? 모든 것이 좋습니다."),
}


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("language", TEXTS)
def test_an_old_encoding_is_recognised_and_said(language, kind, tmp_path, capsys):
    """A short text of each language, and again with more rows than are looked at."""
    encoding, shown, text = TEXTS[language]
    for number in (1, 2000):
        rows = [(text, f"{index} {text[:30]}", "1") for index in range(number)]
        path = tmp_path / f"{number}.{kind}"
        if kind == "csv":
            content = "a,b,y\n" + "".join(f'"{a}","{b}",{y}\n' for a, b, y in rows)
        else:
            content = "".join(json.dumps({"a": a, "b": b, "y": y}, ensure_ascii=False) + "\n" for a, b, y in rows)
        path.write_bytes(content.encode(encoding))
        assert read(path) == rows
        assert f"{path} is not UTF-8; read as {shown} (" in capsys.readouterr().err


def test_letters_that_two_code_pages_share_are_read_as_the_western_one(tmp_path, capsys):
    """Hungarian and Turkish may look like Western text: the line that is said shows words to judge by."""
    (tmp_path / "t.csv").write_bytes("a,b,y\nHol van a legközelebbi állomás?,válaszát mondta ő,1\n".encode("cp1250"))
    assert read(tmp_path / "t.csv")[0][1] == "válaszát mondta õ"
    assert "read as Windows-1252 (legközelebbi, állomás, válaszát)" in capsys.readouterr().err


def test_what_is_guessed_of_each_file_is_said_once(go, tmp_path, capsys):
    """Training and prediction on files with everything at once, through the entry points."""
    rows = "".join(
        f'{index};"größe; {index % 7}";"straße\n{index % 5}";{"ja" if index % 2 else "nein"};\n' for index in range(40)
    )
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv.gz").write_bytes(gzip.compress((";a;b;y;\n" + rows).encode("cp1252")))
    columns = ("--task", "custom", "--text-columns", "a,b", "--label-column", "y")
    assert go("--data", tmp_path, *columns, "--max-steps", 1, "--run-name", "one") == 0
    lines = capsys.readouterr().err.splitlines()
    for split in ("train", "validation"):
        path = tmp_path / f"{split}.csv.gz"
        assert lines.count(f"{path} is not UTF-8; read as Windows-1252 (größe, straße)") == 1
        assert lines.count(f"{path}: columns are separated by semicolons (';')") == 1
    assert lines.count(f"{tmp_path}: ignoring the first column of each table, which has no name (an index)") == 1
    assert lines.count(f"{tmp_path}: ignoring 1 empty column(s) without a name at the end of each table") == 1
    command = ["--model", tmp_path / "runs" / "one" / "best", "--data", path, "--output", tmp_path / "answers.tsv"]
    assert predict.main([str(part) for part in command]) == 0
    assert "(40 rows)" in capsys.readouterr().out
    with (tmp_path / "answers.tsv").open(newline="") as file:
        assert len(list(csv.reader(file, delimiter="\t"))) == 41


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"PK\x03\x04\x14\0", "t.csv is an Excel workbook or a zip archive, not text"),
        ("t.csv.zst", b"a,b,y\n", "t.csv.zst is damaged, or not a Zstandard file"),
        ("t.csv", b'a,b,y\na,"b,1\n', "t.csv, row 1 (line 2): a quote is not closed"),
        ("t.tsv", b"a\tb\ty\na\tb\n", "t.tsv, row 1 (line 2): 2 fields, but the header has 3"),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_message_and_exit_2(name, content, words, go, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    flags = ("--task", "custom", "--text-columns", "a,b", "--label-column", "y", "--max-steps", 1)
    assert go("--data", tmp_path / name, *flags) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and words in message and message.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
