"""Where claims come from, a file or an installed package; each mistake is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssmbias.evidence.registry import claims_of_file, claims_of_installed_packages
from ssmbias.verification import plan

CLAIMS = """
from dataclasses import dataclass
from ssmbias.evidence import Claim, Kind, Row

@dataclass(frozen=True)
class Coin:
    name: str = "coin"

def compare(subject, predicted, runs):
    return Row(quantity="x", predicted=predicted, measured=runs, residual=abs(predicted - runs),
               tolerance=0.1, derivation="by hand")

CLAIMS = (Claim(id="COIN", title="x", statement="x", kind=Kind.LIMIT, reference="none",
    subject=Coin, measure=lambda s, b: 0.5, predict=lambda s, r: 0.5, control="all heads",
    wrong=lambda s, r: 1.0, compare=compare, family="coins"),)
SUBJECTS = (Coin(), Coin("other"))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "coins.py"
    path.write_text(CLAIMS)
    return path


class TestFiles:
    def test_one_claim_and_one_subject_need_no_brackets(self, file: Path) -> None:
        file.write_text(CLAIMS + "CLAIMS, SUBJECTS = CLAIMS[0], SUBJECTS[0]")
        offer = claims_of_file(file)
        assert [claim.id for claim in offer.claims] == ["COIN"]
        assert [subject.name for subject in offer.subjects] == ["coin"]

    def test_what_stands_beside_a_file_can_be_imported(self, file: Path) -> None:
        beside = file.with_name("table.py")
        beside.write_text("from beside_of_a_test import CLAIMS")
        file.rename(file.with_name("beside_of_a_test.py"))
        assert [claim.id for claim in claims_of_file(beside).claims] == ["COIN"]

    def test_helpers_of_the_same_name_are_refused(self, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "sub" / file.name
        other.parent.mkdir()
        for path, title in ((file, "one"), (other, "two")):
            path.write_text(
                "from helper_of_two import TITLE\n" + CLAIMS.replace('title="x"', "title=TITLE")
            )
            path.with_name("helper_of_two.py").write_text(f"TITLE = {title!r}")
        assert claims_of_file(file).claims[0].title == "one"
        with pytest.raises(ValueError, match="give the helpers different names") as refused:
            claims_of_file(other)
        assert "\n" not in str(refused.value)
        for path in (file, other):
            assert str(path.with_name("helper_of_two.py")) in str(refused.value)
        other.with_name("helper_of_two.py").rename(other.with_name("helper_of_other.py"))
        other.write_text(other.read_text().replace("helper_of_two", "helper_of_other"))
        assert claims_of_file(other).claims[0].title == "two"
        assert claims_of_file(file).claims[0].title == "one"

    def test_an_edited_helper_is_loaded_afresh(self, file: Path) -> None:
        """Also one that another helper imports; what has not changed stays as it is."""
        title = CLAIMS.replace('title="x"', "title=TITLE")
        file.write_text("import kept_of_a_test\nfrom edited_of_a_test import TITLE\n" + title)
        file.with_name("kept_of_a_test.py").write_text("")
        file.with_name("edited_of_a_test.py").write_text("from deep_of_a_test import TITLE")
        kept = []
        for name in ("one", "two"):  # of one length, within a second
            file.with_name("deep_of_a_test.py").write_text(f"TITLE = {name!r}")
            assert claims_of_file(file).claims[0].title == name
            kept.append(sys.modules["kept_of_a_test"])
        assert kept[0] is kept[1]

    def test_files_of_the_same_name_are_kept_apart(self, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "sub" / file.name
        other.parent.mkdir()
        other.write_text(CLAIMS)
        one, two = (claims_of_file(path).claims[0].subject for path in (file, other))
        assert one is not two
        assert one.__module__ != two.__module__

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = 1", "defines no CLAIMS; see docs/adding-a-claim.md"),
            ("CLAIMS = ()", "CLAIMS is empty"),
            ("CLAIMS = 3", "CLAIMS holds 3, which is no Claim"),
            ("CLAIMS = ['M1']", "CLAIMS holds 'M1', which is no Claim"),
            ("CLAIMS = (", r"running it raised SyntaxError: '\(' was never closed"),
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("1 / 0", "running it raised ZeroDivisionError: division by zero"),
            (CLAIMS + "SUBJECTS = (3,)", "SUBJECTS: subject 3: expected a frozen dataclass"),
            (CLAIMS.replace("wrong=lambda s, r: 1.0, ", ""), "claim COIN: has no negative control"),
            (CLAIMS.replace("reference=", "ref="), "unexpected keyword argument 'ref'"),
        ],
    )
    def test_mistakes_are_one_line(self, file: Path, text: str, message: str) -> None:
        file.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            claims_of_file(file)
        assert str(caught.value).startswith(f"claims={file}: ")

    def test_a_folder_and_another_kind_of_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="there is no such file"):
            claims_of_file(tmp_path)
        (tmp_path / "x.txt").write_text("CLAIMS = ()")
        with pytest.raises(ValueError, match=r"must end in \.py"):
            claims_of_file(tmp_path / "x.txt")


class TestInstalledPackages:
    @pytest.fixture
    def offered(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file as an installed package that offers its claims; the entry point's file."""
        info = file.parent / "coins_for_a_test-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coins-for-a-test\nVersion: 1")
        entries = info / "entry_points.txt"
        entries.write_text("[ssmbias.claims]\ncoins = coins_for_a_test\n")
        file.rename(file.with_name("coins_for_a_test.py"))
        monkeypatch.syspath_prepend(file.parent)
        return entries

    @pytest.mark.parametrize("name", ["COIN", "coins"])
    def test_their_claims_are_found_by_id_and_family(self, offered: Path, name: str) -> None:
        assert list(claims_of_installed_packages()) == ["coins"]
        pairs = plan(name).pairs
        assert [(claim.id, s.name) for claim, s in pairs] == [("COIN", "coin"), ("COIN", "other")]

    def test_all_includes_them_and_others_do_not(self, offered: Path) -> None:
        assert "COIN" in {claim.id for claim in plan("all").claims}
        assert {type(s).__name__ for s in plan("M4").subjects} == {"Theorem1"}

    def test_one_that_cannot_be_loaded_is_named(self, offered: Path) -> None:
        offered.write_text("[ssmbias.claims]\nlost = no_such_module\n")
        with pytest.raises(ValueError, match=r"entry point lost = no_such_module: cannot be load"):
            claims_of_installed_packages()
        (offered.parents[1] / "broken_for_a_test.py").write_text("1 / 0")
        offered.write_text("[ssmbias.claims]\nbroken = broken_for_a_test\n")
        with pytest.raises(ValueError, match="cannot be loaded: ZeroDivisionError"):
            plan("M4")
