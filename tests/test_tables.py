"""Tables in files: what is unambiguous is read exactly; anything else is refused in one line that shows the line."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpinn_jax.base.tables import table as _table
from kdpinn_jax.base.tables.columns import find_columns
from kdpinn_jax.base.tables.read_table import read_table
from kdpinn_jax.base.tables.table import TableError


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def read(path, names=("t", "x"), others=("u",), chosen=None):
    """The columns of the quantities as (n, k)."""
    table = read_table(path)
    indices, _ = find_columns(table, names, others, chosen)
    return np.concatenate([block.values for block in table.blocks(indices)])


def refusal(path, **options):
    with pytest.raises(TableError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 500
    return message


# Round trips ----------------------------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
arrays = st.integers(1, 4).flatmap(
    lambda d: st.lists(st.lists(finite, min_size=d, max_size=d), min_size=1, max_size=6).map(np.array)
)


@st.composite
def dialects(draw, d):
    """How a program writes a table: its separator, decimal mark, header, quotation marks, encoding and others."""
    separator = draw(st.sampled_from([",", ";", "\t", " ", "   ", " \t", ", ", " ; "]))
    quoted = draw(st.booleans())
    commas = draw(st.booleans()) and (quoted or "," not in separator) and not (d == 1 and not quoted)
    return {
        "separator": separator,
        "quote": '"' if quoted else "",
        "mark": "," if commas else ".",
        "format": draw(st.sampled_from(["r", ".17g", "+.16e"])),
        "exponent": draw(st.sampled_from("eEdD")),
        "header": draw(st.sampled_from([None, "", "% ", "#"])),
        "unit": draw(st.sampled_from(["", " [s]", "(m)", "/m"])),
        "before": draw(st.sampled_from(["", "\n", "# written by a program on Monday\n% on 2024-01-01\n"])),
        "after": draw(st.sampled_from(["", "\n\n", "# end of the table\n"])),
        "trailing": separator if separator in (",", ";", "\t") and draw(st.booleans()) else "",
        "index": draw(st.booleans()) and separator in (",", ";", "\t"),
        "end": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])),
    }


def formatted(number, dialect):
    text = repr(number) if dialect["format"] == "r" else format(number, dialect["format"])
    return text.replace(".", dialect["mark"]).replace("e", dialect["exponent"])


def written(array, names, dialect):
    """The content of a file with this array."""
    in_quotes = lambda text: dialect["quote"] + text + dialect["quote"]
    line = lambda cells: dialect["separator"].join(cells) + dialect["trailing"] + "\n"
    index = [[str(i)] if dialect["index"] else [] for i in range(len(array))]
    rows = [[in_quotes(formatted(number, dialect)) for number in row] for row in array.tolist()]
    lines = [line(first + row) for first, row in zip(index, rows, strict=True)]
    if dialect["header"] is not None:
        first = ["index" if dialect["header"] else ""] if dialect["index"] else []
        lines.insert(0, dialect["header"] + line(first + [in_quotes(name + dialect["unit"]) for name in names]))
    text = (dialect["before"] + "".join(lines) + dialect["after"]).replace("\n", dialect["end"])
    order_mark = "\ufeff" if dialect["encoding"] in ("utf-16-le", "utf-16-be") else ""
    return (order_mark + text).encode(dialect["encoding"])


def may_separate_thousands(texts):
    """Whether there are commas and every one has one to three digits before it and three after it, as in 1,250."""
    texts = [text for text in texts if "," in text]
    return texts and all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text) for text in texts)


@settings(max_examples=100)
@given(st.data())
def test_what_any_dialect_writes_is_read_exactly(directory, data):
    array = data.draw(arrays)
    d = array.shape[1]
    dialect = data.draw(dialects(d))
    names = ("t", "x", "y", "z")[:d]
    order = data.draw(st.permutations(range(d))) if dialect["header"] is not None else range(d)
    content = written(array[:, order], [names[i] for i in order], dialect)
    path = write(directory / data.draw(st.sampled_from(["a.csv", "a.TXT", "a.dat", "a.tsv"])), content)
    numbers = [str(i + 1 + dialect["index"]) for i in range(d)]
    chosen = numbers if dialect["index"] and dialect["header"] is None else None
    if may_separate_thousands([formatted(number, dialect) for number in array.ravel().tolist()]):
        assert "thousands" in refusal(path, names=names, chosen=chosen)
    else:
        np.testing.assert_array_equal(read(path, names, chosen=chosen), array)


@settings(max_examples=100)
@given(
    st.lists(st.text('01.,; \t"-#%\u00a0', max_size=7), min_size=1, max_size=5), st.sampled_from(["1,2", "1", "2,3"])
)
def test_a_file_without_a_header_has_one_row_per_line_with_content(directory, lines, columns):
    """Rows of digits and separators are read one by one or refused, but never joined or left out."""
    path = write(directory / "a.csv", "\n".join(lines))
    names = ("t", "x")[: len(columns.split(","))]
    try:
        values = read(path, names, chosen=columns.split(","))
    except TableError:
        return
    rows = [line for line in lines if line.strip(' \t,;"') and line.strip(" \t")[0] not in "#%"]
    assert len(values) == len(rows)
    for row, numbers in zip(rows, values, strict=True):
        for number in numbers:
            texts = re.findall(r"[-0-9.,]+", row)
            forms = {float(t.replace(",", ".")) for text in texts for t in (text, *text.split(",")) if is_plain(t)}
            assert number in forms


def is_plain(text):
    return re.fullmatch(r"-?(\d+[.,]?\d*|[.,]\d+)", text) is not None


# Files of other programs ----------------------------------------------------------------------------------------------

COMSOL = """% Model:              channel.mph
% Version:            COMSOL 6.1.0.252
% Date:               Jan 1 2024, 10:00
% Nodes:              2
% Description:        Temperature
% x                   t                  T (K) @ p=0        T (K) @ p=1
-0.2                  0.1                300                301
0.4                   0.3                302                303
"""
READ = {
    "COMSOL": COMSOL,
    "COMSOL, csv": "% Model,a.mph\n% Description,T\n% t,x,T (K)\n0.1,-0.2,300\n0.3,0.4,301\n",
    "numpy.savetxt": "1.000000000000000056e-01 -2.000000000000000111e-01\n2.9999999999999999e-01 4.0e-01\n",
    "numpy.savetxt with another separator in the header": "# t,x\n0.1 -0.2\n0.3 0.4\n",
    "pandas": ",t,x\n0,0.1,-0.2\n1,0.3,0.4\n",
    "pandas, read and written": "Unnamed: 0.1,Unnamed: 0,x,t\n0,0,-0.2,0.1\n1,1,0.4,0.3\n",
    "a German spreadsheet": "t;x;Düse\r\n0,1;-0,2;a, b\r\n0,3;0,4;\r\n".encode("cp1252"),
    "a German spreadsheet with quotation marks": '"t","x"\r\n"0,1","-0,2"\r\n"0,3","0,4"\r\n',
    "Unicode text of a spreadsheet": "t\tx\r\n0.1\t-0.2\r\n0.3\t0.4\r\n".encode("utf-16"),
    "a spreadsheet that names the separator": "sep=;\r\nt;x\r\n0,1;-0,2\r\n0,3;0,4\r\n",
    "German columns of text": "   0,1  -0,2\n   0,3   0,4\n",
    "Fortran": "  0.1D+00 -2.0d-1\n  3D-1 .4\n",
    "units": "x [m],t [s]\n-0.2,0.1\n0.4,0.3\n",
    "other units": "x/m;t (s)\n-0,2;0,1\n0,4;0,3\n",
    "units between spaces": "x [m]  t [s]\n-0.2 0.1\n0.4 0.3\n",
    "capitals": "X,T,U\n-0.2,0.1,5\n0.4,0.3,6\n",
    "a quantity in capitals": "x,T,t\n-0.2,300,0.1\n0.4,301,0.3\n",
    "blank cells and rows": "t,x,\n0.1,-0.2,\n\n0.3,0.4,\n,,\n,,\n",
    "unequal blank cells": "t,x\n0.1,-0.2,,\n0.3,0.4,\n",
    "an unnamed column": "t,x,\n0.1,-0.2,7\n0.3,0.4,\n",
    "text in a column that is not used": "t,x,wall\n0.1,-0.2,nan\n0.3,0.4,the north; 5\"\n",
    "a comment per block": "# t x\n0.1 -0.2\n\n# next block\n# t x\n0.3 0.4\n",
    "a comment below the header": "# x t\n# on 2024-01-01\n-0.2 0.1\n0.4 0.3\n",
    "errors in another column": "p;t;x\n#NV;0,1;-0,2\n#NAME?;0,3;0,4\n",
    "a sentence": "# Made by a script, on Monday, for a test\n0.1,-0.2\n0.3,0.4\n",
    "old line ends": "t,x\r0.1,-0.2\r0.3,0.4\r",
    "double line ends": "t,x\r\r\n0.1,-0.2\r\r\n0.3,0.4\r\r\n",
}  # fmt: skip


@pytest.mark.parametrize("program", READ)
def test_files_of_other_programs(tmp_path, program):
    np.testing.assert_array_equal(read(write(tmp_path / "a.csv", READ[program])), [[0.1, -0.2], [0.3, 0.4]])


REFUSED = [
    # decimal commas and separators of thousands
    ("0,1,0,2\n", "line 1 ('0,1,0,2'): expected 2 columns (t, x), found 4"),
    ("0,1,0,2\n", "decimal marks"),
    ("t,x\n0,1,0,2\n", "line 1 ('t,x'): the header does not match"),
    ("t,x\n1,2\n0,1,0,2\n", "line 3 ('0,1,0,2'): expected 2 columns separated by commas, found 4"),
    ("t;x\n0,1\n", "line 1 ('t;x'): the header does not match"),
    ("t;x\n1,000;2,000\n", "line 2 ('1,000;2,000'): the commas are decimal marks or separate thousands"),
    ('"1,000","2,500"\n', "thousands"),
    ("t;x\n1,234.5;0.2\n", "line 2 ('1,234.5;0.2'): the cell in column 1 has separators of thousands"),
    ("t;x\n1.234,5;0.2\n", "thousands"),
    ("t,x\n0.5,1\u00a0000\n", "column 2 has separators of thousands"),
    ("1 000;2 000\n", "thousands"),
    ("1 250,3 750\n", "thousands"),
    ("t,x\n1'000,0\n", "thousands"),
    ("t;x\n0,1;2\n0.1;2\n", "line 3 ('0.1;2'): the cell in column 1 has another decimal mark"),
    ("t;x\n0.1;2\n1;0,2\n", "line 3 ('1;0,2'): the cell in column 2 has another decimal mark"),
    # cells
    ("t,x\n0.1,zz\n", "line 2 ('0.1,zz'): the cell in column 2 is not a number"),
    ("0.5,zz\n0,0\n", "line 1 ('0.5,zz'): the cell in column 2 is not a number"),
    ("t,x\n0.1,\u22120.2\n", "line 2 ('0.1,−0.2'): the cell in column 2 has a dash for a minus sign"),
    ("0.1,0x10\n", "not a number"),
    ("0.1,1_0\n", "not a number"),
    ("0.1,\u0661\n", "not a number"),
    ("0.1,1/3\n", "not a number"),
    ("0.1,10%\n", "not a number"),
    ("0.1,0.2 # wall\n", "not a number"),
    ("0.1 ****\n", "not a number"),
    ("0.1 1.0-101\n", "not a number"),
    ("0.1,\n0.3,0.4\n", "line 1 ('0.1,'): expected 2 columns"),
    ("t,x\n0.1,\n", "line 2 ('0.1,'): the cell in column 2 is empty"),
    ("NA,NA\n0,0\n", "line 1 ('NA,NA'): the cell in column 1 is not a number"),
    ("#N/A,0\n0,0\n", "line 1 ('#N/A,0'): the cell in column 1 is not a number"),
    ("t;x\n0;0\n#DIV/0!;0\n", "line 3 ('#DIV/0!;0'): the cell in column 1 is not a number"),
    # rows
    ("t,x\n0,0\n0\n", "line 3 ('0'): expected 2 columns separated by commas, found 1"),
    ("t,x\n0,0\n0,0,0\n", "line 3 ('0,0,0'): expected 2 columns separated by commas, found 3"),
    ("t,x\n0,0\n,\n0,0\n", "line 3 (','): the row is blank"),
    ("t\tx\n\t\n0\t0\n", "line 2 ('\\t'): the row is blank"),
    ("t,x\n0,0\nt,x\n", "line 3 ('t,x'): the cell in column 1 is not a number"),
    ("% t,x\n0,0\n% x,t\n0,0\n", "line 3 ('% x,t'): the comment names the columns differently"),
    ("t,x,u\n0,0,\"a\nb\"\n", "line 2 ('0,0,\"a'): a quotation mark is not closed"),
    ('"0.1"5,0\n', "quotation mark"),
    # headers
    ("t,y\n0,0\n", "line 1 ('t,y'): no column is named 'x'"),
    ("# wall points\n0,0\n", "line 1 ('# wall points'): no column is named 't'"),
    ("# wall points\n0,0\n", "delete the line if it is not a header"),
    ("time,place\n0,0\n", "select those of t, x in this order, by name or number, with --columns"),
    ("T,x\n0,0\n", "'T' may be another quantity; rename the columns, or select them with --columns T,x"),
    ("time,T [\x1b],X\n0,0,0\n", "'T [\\x1b]', 'X' may be another quantity"),
    ("time,T [\x1b],X\n0,0,0\n", "--columns 2,3"),
    ("x,T [K]\n0,0\n", "no column is named 't'"),
    ("time,X,T\n0,0,0\n", "no column is named 't'"),
    ("t,x,t [s]\n0,0,0\n", "2 columns are named 't'"),
    ("T,U\n0,0\n", "no column is named 'x'"),
    (",0,1\n0,0.1,0.2\n", "line 1 (',0,1'): no column is named 't'"),
    ("t,x,300\n0,0,0\n", "line 1 ('t,x,300'): expected 2 columns"),
    ("t x\n1 2 3\n", "line 1 ('t x'): the header does not match the rows; expected 3 names separated by spaces"),
    ("table 1\nt,x\n0,0\n", "line 2 ('t,x')"),
    (",0,1\n,0.1,0.2\n", "line 1 (',0,1'): the header does not match"),
    ("title\nt,x\n0,0\n", "line 1 ('title'): the header does not match"),
    ("0.1,0.2,0.3\n", "line 1 ('0.1,0.2,0.3'): expected 2 columns (t, x), found 3 and no header"),
    ("0.1,0.2,0.3\n", "--columns 1,2"),
    ("0.5\n", "line 1 ('0.5'): expected 2 columns (t, x), found 1"),
    ("0.1|0.2\n", "line 1 ('0.1|0.2'): expected 2 columns (t, x), found 1"),
    # content
    ("", "contains no rows"),
    ("# only a comment", "contains no rows"),
    ("t,x\n,\n", "contains no rows of numbers below the header in line 1 ('t,x')"),
    (b"t,x\n0,0\n0,\x00\n", "line 3 ('0,\\x00'): contains a zero byte"),
    ("t,x\n0,0\n".encode("utf-16-le"), "zero byte"),
    ("1" * 3_000_000, "longer than 1000000 characters"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "zero byte"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "part"), REFUSED)
def test_what_is_ambiguous_or_damaged_is_refused_with_its_line(tmp_path, content, part):
    assert part in refusal(write(tmp_path / "a.csv", content))


def test_one_number_can_prove_that_all_commas_are_decimal(tmp_path):
    path = write(tmp_path / "a.csv", "1,000;2,000\n-0,500;1,250\n")
    assert read(path).tolist() == [[1, 2], [-0.5, 1.25]]


def test_a_table_of_one_column(tmp_path):
    """A blank line may be a missing number, and a comma a decimal mark."""
    path = tmp_path / "a.txt"
    for content in ("0.5\n1\n\n", "x\n0.5\n1", "# x\n0.5\n1", "x;\n0,5;\n1;\n", 'x\n"0,5"\n"1"\n'):
        assert read(write(path, content), ("x",)).tolist() == [[0.5], [1]]
    assert "line 3 (''): the row is blank" in refusal(write(path, "x\n0.5\n\n1\n"), names=("x",))
    assert "decimal marks" in refusal(write(path, "0,5\n0,7\n"), names=("x",))
    assert "decimal marks" in refusal(write(path, "x\n0,5\n"), names=("x",))


@pytest.mark.parametrize(
    ("content", "chosen", "expected"),
    [
        ("0.1,-0.2,5\n", "1,2", [0.1, -0.2]),
        ("5;0,1;-0,2\n", "2,3", [0.1, -0.2]),
        ("-0.2,0.1\n", "2,1", [0.1, -0.2]),
        ("time [s],u,place\n0.1,5,-0.2\n", "time,place", [0.1, -0.2]),
        ("time [s],u,place\n0.1,5,-0.2\n", "time [s],PLACE", [0.1, -0.2]),
        ("T,x\n0.1,-0.2\n", "T,x", [0.1, -0.2]),
        ("t,x,t\n0.1,-0.2,9\n", "1,2", [0.1, -0.2]),
        (",0,1\n0,0.1,-0.2\n", "2,3", [0.1, -0.2]),
        ("# wall points\n0.1,-0.2\n", "1,2", [0.1, -0.2]),
        ("t,x\n0,0\n", "x,t", "selects the column of 'x' for 't'; give the columns of t, x in this order"),
        ("t,x\n0,0\n", "2,1", "selects the column of 'x' for 't'"),
        ("t,x\n0,0\n", "t", "--columns selects 1 columns; give 2"),
        ("t,x\n0,0\n", "t,t", "selects column 1 twice"),
        ("t,x\n0,0\n", "t,0", "--columns 0: expected a number from 1 to 2"),
        ("t,x\n0,0\n", "t,3", "--columns 3: expected a number from 1 to 2"),
        ("t,x\n0,0\n", "t," + "9" * 5000, "expected a number from 1 to 2"),
        ("t,place\n0,0\n", "t,plaec", "did you mean 'place'?"),
        ("0,0,0\n", "t,x", "the file has no header; give the numbers"),
        ("t,x,x\n0,0,0\n", "t,x", "several columns have this name; give a number"),
    ],
)
def test_columns_are_chosen_by_name_or_number(tmp_path, content, chosen, expected):
    path = write(tmp_path / "a.csv", content)
    if isinstance(expected, str):
        assert expected in refusal(path, chosen=chosen.split(","))
    else:
        assert read(path, chosen=chosen.split(",")).tolist() == [expected]


def test_a_field_is_not_taken_for_an_axis_in_another_case(tmp_path):
    path = write(tmp_path / "a.csv", "T,X\n0.1,0.2\n")
    assert read(path, ("t", "x"), ("u",)).tolist() == [[0.1, 0.2]]
    assert "no column is named 't'" in refusal(path, names=("t", "x"), others=("T",))


def test_notes_say_what_is_ignored_and_what_is_doubtful(tmp_path):
    def notes(content):
        table = read_table(write(tmp_path / "a.csv", content))
        return [note for note in (table.note, find_columns(table, ("t", "x")).note) if note]

    assert notes("x,t\n0,0\n") == notes("1,2\n") == notes("t,x,\n0,0,\n") == []
    assert notes(",t,x,T [K]\n0,1,2,3\n")[0].endswith("reads the columns t, x and ignores column 1 (unnamed), T [K]")
    assert notes("0,1\n0.5,0.5\n")[0].endswith("line 1 ('0,1') is read as numbers; if it is a header, delete it")


def test_blocks_continue_the_state_of_the_blocks_before(tmp_path, monkeypatch):
    """The decimal mark, the proof of it and the line numbers, for any number of rows per block."""
    monkeypatch.setattr(_table, "BLOCK", 2)
    path = tmp_path / "a.csv"
    content = "t;x\n1;2\n3;4\n5;6\n1,000;2\n1,500;7\n0,5;8\n"
    assert read(write(path, content)).tolist() == [[1, 2], [3, 4], [5, 6], [1, 2], [1.5, 7], [0.5, 8]]
    assert "line 8 ('0.5;8')" in refusal(write(path, content + "0.5;8\n"))
    assert "line 5 ('1,000;2'): the commas" in refusal(write(path, content.replace("0,5;8", "1,234;8")))


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.npz"])
def test_unknown_extensions(tmp_path, name):
    assert "unknown file extension" in refusal(write(tmp_path / name, "0,0"))
