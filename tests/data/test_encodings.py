"""Text files in encodings other than UTF-8: recognised, said and read, for tables and JSON alike."""

import json

import pytest
from test_ugly_tables import read

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
