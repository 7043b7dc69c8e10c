"""Publishing: what is taken, what is refused before anything is touched; order and repetition do not matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_runs import SyntheticRun

from robench.analysis.provenance import open_run
from robench.analysis.rows import read_rows
from robench.engine.rows import write_rows
from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.files import sha256_bytes
from robench.leaderboard import publish as publishing
from robench.leaderboard.machine_paths import has_path, without_paths
from robench.leaderboard.stored_rows import encode, publishable
from robench.leaderboard.submission import canonical_licence, read_submission
from robench.leaderboard.verify import verify
from tests.robench.leaderboard.conftest import Board, edit_json, tree

EVEN = {"camera_roll": 1.0, "fog_3d": 1.0}


def tables(board: Board) -> dict[str, bytes]:
    return {name: data for name, data in tree(board.root).items() if not name.endswith("CARD.md")}


def edit_rows(run: SyntheticRun, change: Any) -> None:
    rows = pd.read_parquet(run.rows)
    rows = change(rows)
    write_rows(run.rows, [{k: None if v != v else v for k, v in row.items()} for row in rows.to_dict("records")])


def test_a_published_run_is_whole_and_sound(board: Board) -> None:
    (made,) = board.publish(board.run(), paper_url="https://example.org/a?b=c", hardware="A100, 80 GB", variant="big")
    assert (made.change, made.reference) == ("new", None)
    names = {Path(name).name for name in tree(board.root)}
    assert names == {"CARD.md", "main.csv", "per_corruption.csv", "rows.parquet", "submission.json"}
    line = board.line("toy")
    assert (line["paper_url"], line["hardware"], line["variant"]) == (
        "https://example.org/a?b=c",
        "A100, 80 GB",
        "big",
    )
    assert line["licence"] == "Apache-2.0"  # of the model's card
    assert verify(board.root).sound


def test_rows_are_compact_and_say_what_the_run_said(board: Board) -> None:
    run = board.run()
    board.publish(run)
    stored = board.entry(run) / "rows.parquet"
    record = json.loads((board.entry(run) / "submission.json").read_text())
    assert record["rows"]["file_sha256"] == sha256_bytes(stored.read_bytes())
    assert record["rows"]["rows_sha256"] == open_run(run.folder).sha256 == open_run(board.entry(run)).sha256
    assert stored.stat().st_size < run.rows.stat().st_size
    assert len(read_rows(stored)) == record["rows"]["count"] == 4 * 5


def test_equal_rows_are_equal_bytes_in_any_order(board: Board) -> None:
    rows = read_rows(board.run(noise=0.1).folder)
    shuffled = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    assert encode(publishable(rows)) == encode(publishable(shuffled))


def test_the_same_run_twice_changes_nothing(board: Board) -> None:
    run = board.run()
    board.publish(run, paper_url="https://example.org")
    before, stamps = tree(board.root), [path.stat().st_mtime_ns for path in sorted(board.root.rglob("*"))]
    made = publishing.publish([run.folder], board.root, publishing.Wishes({}, "2027-01-01"))
    assert [one.change for one in made] == ["same"]
    assert tree(board.root) == before
    assert [path.stat().st_mtime_ns for path in sorted(board.root.rglob("*"))] == stamps


def test_order_of_publication_does_not_matter(tmp_path: Path) -> None:
    found = []
    for order in ("ab", "ba", "together"):
        board = Board(tmp_path / order)
        one, two = board.run("a-model"), board.run("b-model", clean_cm=2.0)
        if order == "together":
            board.publish(two, one)
        else:
            for run in (one, two) if order == "ab" else (two, one):
                board.publish(run)
        found.append(tables(board))
    assert found[0] == found[1] == found[2]


def test_tracks_and_data_sets_are_boards_of_their_own(board: Board) -> None:
    board.publish(board.run(), board.run(masker="u2netp-anny"), board.run(dataset="other people"))
    homes = {path.parent.relative_to(board.root).as_posix() for path in board.root.rglob("main.csv")}
    assert homes >= {"given-mask/synthetic-people", "image-only/synthetic-people"}
    (odd,) = homes - {"given-mask/synthetic-people", "image-only/synthetic-people"}
    assert odd.startswith("given-mask/other_people-")
    assert verify(board.root).sound


def test_what_is_said_may_change_and_rows_may_not(board: Board) -> None:
    run = board.run()
    board.publish(run)
    (made,) = board.publish(run, code_url="https://example.org/code", verified="maintainer")
    assert made.change == "changed"
    line = board.line("toy")
    assert (line["code_url"], line["verified"], line["date"]) == (
        "https://example.org/code",
        "maintainer",
        "2026-11-21",
    )
    before = tree(board.root)
    shutil.rmtree(run.folder)
    again = board.run(noise=0.2)
    assert again.run_id == run.run_id
    with pytest.raises(Mismatch, match="other rows"):
        board.publish(again)
    assert tree(board.root) == before


@pytest.mark.parametrize(
    ("how", "said", "error", "match"),
    [
        ({"state": "running"}, {}, UsageError, "not finished"),
        ({"partial": True}, {}, UsageError, "partial"),
        ({"metrics": ["mask_iou"]}, {}, UsageError, "chamfer_cm"),
        ({}, {"licence": "do what you want"}, UsageError, "licence"),
        ({}, {"licence": "Non-commercial: "}, UsageError, "licence"),
        ({}, {"paper_url": "javascript:alert(1)"}, UsageError, "paper_url"),
        ({}, {"code_url": "https://example.org/<script>"}, UsageError, "code_url"),
        ({}, {"run_url": "https://user@example.org"}, UsageError, "run_url"),
        ({}, {"variant": "a\nb"}, UsageError, "variant"),
        ({}, {"hardware": "x" * 81}, UsageError, "hardware"),
        ({}, {"hardware": "see /srv/me/gpu.txt"}, UsageError, "path"),
        ({}, {"date": "21.11.2026"}, UsageError, "date"),
        ({}, {"verified": "trust me"}, UsageError, "verified"),
        ({}, {"reference": "mean-body@00000000-00000000-00000000"}, UsageError, "reference"),
        ({}, {"rows_url": "https://example.org/rows.parquet"}, UsageError, "--rows-out"),
        ({"columns": {"track": "image-only"}}, {}, Mismatch, "track"),
        ({"columns": {"checkpoint_sha256": "ab" * 32}}, {}, Mismatch, "checkpoint_sha256"),
        ({"columns": {"metric_version": "7"}}, {}, Mismatch, "metric_version"),
        ({"columns": {"corruption_version": None}}, {}, Mismatch, "version"),
        ({"fails": {("fog_3d", 1): 1}, "columns": {"failure_value": None}}, {}, Mismatch, "penalty"),
    ],
)
def test_refused_before_anything_is_touched(
    board: Board, how: dict[str, Any], said: dict[str, Any], error: type[Exception], match: str
) -> None:
    board.publish(board.run("first"))
    before = tree(board.root)
    with pytest.raises(error, match=match):
        board.publish(board.run("fine"), board.run("second", **how), **said)
    assert tree(board.root) == before


def test_a_dropped_failure_is_a_gap(board: Board) -> None:
    run = board.run(fails={("fog_3d", 5): 1})
    edit_rows(run, lambda rows: rows[rows["status"] != "failed"])
    with pytest.raises(Mismatch, match="Rows are missing"):
        board.publish(run)
    assert not board.root.exists()


def test_a_dropped_subject_is_a_gap(board: Board) -> None:
    run = board.run()
    edit_rows(run, lambda rows: rows[rows["subject_id"] != "p003"])
    with pytest.raises(Mismatch, match="not of all"):
        board.publish(run)


def test_a_dropped_corruption_contradicts_who_kept_it(board: Board) -> None:
    whole, less = board.run("whole"), board.run("less")
    edit_rows(less, lambda rows: rows[rows["corruption"] != "camera_roll"])
    board.publish(whole)
    before = tree(board.root)
    with pytest.raises(Mismatch, match="claim the same pictures"):
        board.publish(less)
    assert tree(board.root) == before


def test_skipped_rows_are_no_whole_run(board: Board) -> None:
    run = board.run()

    def skip(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[rows["corruption"] == "fog_3d", ["value", "status"]] = [None, "skipped"]
        return rows

    edit_rows(run, skip)
    with pytest.raises(UsageError, match="skipped"):
        board.publish(run)


def test_a_renamed_run_is_found_out(board: Board) -> None:
    run = board.run()
    edit_json(run.folder / "run.json", lambda about: about.update(threads=4))
    with pytest.raises(Mismatch, match="run_id"):
        board.publish(run)


def test_data_must_be_those_that_the_card_declares(board: Board) -> None:
    board.publish(board.run())
    other = board.run("other", columns={"dataset_revision": "ab" * 32})
    edit_json(other.folder / "run.json", lambda about: about["dataset"].update(revision="ab" * 32))
    with pytest.raises(NotComparable, match="does not take runs on these data"):
        board.publish(other)


def test_a_card_is_written_once(board: Board) -> None:
    board.publish(board.run("one"))
    card = board.folder / "CARD.md"
    text = card.read_text()
    assert "synthetic-people" in text
    assert "4 subjects" in text
    card.write_text(text + "\nA note of a maintainer.\n")
    board.publish(board.run("two"))
    assert card.read_text().endswith("A note of a maintainer.\n")
    assert verify(board.root).sound


def test_mean_body_of_the_board_is_the_reference(board: Board) -> None:
    early, reference, late = board.run("early"), board.run("mean-body", effects=EVEN), board.run("late")
    assert board.publish(early)[0].reference is None
    named = board.publish(reference)[0].reference
    assert named is not None
    assert board.publish(late)[0].reference == named
    assert board.line("early")["rce"] == ""
    assert board.publish(early)[0].change == "changed"  # published again, it finds the reference
    assert board.line("early")["rce_ref"] == named
    assert board.publish(late, reference="none")[0].reference is None
    assert board.line("late")["rce"] == ""


def test_another_reference_can_be_named_by_folder_or_id(board: Board) -> None:
    one, two = board.run("one"), board.run("two", clean_cm=2.0)
    board.publish(one, two, reference=str(one.folder))
    assert float(board.line("two")["rce"]) == pytest.approx(2.0)
    board.publish(one, two, reference=two.run_id)
    assert float(board.line("one")["rce"]) == pytest.approx(0.5)
    assert verify(board.root).sound


def test_two_references_must_be_told_apart(board: Board) -> None:
    board.publish(board.run("mean-body", effects=EVEN), reference="none")
    board.publish(board.run("mean-body", effects=EVEN, checkpoint="2"), reference="none")
    with pytest.raises(UsageError, match="2 runs of mean-body"):
        board.publish(board.run())


def test_rows_may_lie_elsewhere(board: Board, tmp_path: Path) -> None:
    run, out = board.run(), tmp_path / "rows.parquet"
    url = "https://example.org/rows.parquet"
    board.publish(run, rows_url=url, rows_out=out)
    assert {path.name for path in board.entry(run).iterdir()} == {"submission.json"}
    without = verify(board.root)
    assert without.sound
    assert [f.kind for f in without.findings] == ["note"]
    assert url in without.findings[0].message
    at_hand = verify(board.root, [out])
    assert (at_hand.sound, at_hand.findings) == (True, [])
    board.publish(board.run("second"))  # the lines of the first are kept
    assert {line["model"] for line in board.main()} == {"toy", "second"}
    assert verify(board.root, [out]).findings == []


def test_no_path_of_the_submitter_is_published(board: Board, tmp_path: Path) -> None:
    secret = tmp_path / "my secret folder"
    run = board.run(columns={"message": f"no picture {secret}/a.png and C:\\Users\\me\\b.png or /srv/me/c.png"})

    def tell(about: dict[str, Any]) -> None:
        about["dataset"]["root"] = str(secret)
        about["cset"] = str(secret / "cset")
        about["options"] |= {"data": str(secret), "checkpoint": str(secret / "weights.pt"), "out": str(board.runs)}

    edit_json(run.folder / "run.json", tell)
    board.publish(run)
    for name, data in tree(board.root).items():
        for gone in (b"secret", b"/srv/", str(tmp_path).encode(), b"Users"):
            assert gone not in data, name
    messages = set(read_rows(board.entry(run))["message"])
    assert messages == {"no picture <path> and <path> or <path>"}
    assert verify(board.root).sound


def test_a_path_among_the_models_options_is_refused(board: Board) -> None:
    from robench.leaderboard.record import run_facts

    about = json.loads((board.run().folder / "run.json").read_text())
    about["protocol"]["model_options"] = {"normals": "/srv/me/normals"}
    with pytest.raises(UsageError, match=r"model_options\.normals"):
        run_facts(about)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no file /data/x/a.png here", "no file <path> here"),
        ("'/data/x/a.png' is bad", "'<path>' is bad"),
        ("see https://example.org/a/b and and/or, 3/4", "see https://example.org/a/b and and/or, 3/4"),
        ("images/a.png of ~/people/b", "images/a.png of <path>"),
        ("D:\\people\\a.png; \\\\server\\x", "<path>; <path>"),
    ],
)
def test_paths_are_told_from_other_slashes(text: str, expected: str) -> None:
    assert without_paths(text) == expected
    assert has_path(text) == (text != expected)
    assert without_paths(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit and cc0-1.0", "MIT AND CC0-1.0"),
        ("LicenseRef-S-Lab-1.0", "LicenseRef-S-Lab-1.0"),
        ("non-commercial:  S-Lab   License 1.0", "Non-commercial: S-Lab License 1.0"),
    ],
)
def test_licences_are_canonical(text: str, expected: str) -> None:
    assert canonical_licence(text) == expected
    assert canonical_licence(expected) == expected


def test_a_submission_file_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "submission.yaml"
    path.write_text("licence: MIT\npaper_url: https://example.org\ndate: 2026-11-21\n")
    assert read_submission(path) == {"licence": "MIT", "paper_url": "https://example.org", "date": "2026-11-21"}
    path.write_text("licence: MIT\nlicense: MIT\n")
    with pytest.raises(UsageError, match=r"yaml:2: .*'license'"):
        read_submission(path)


def test_a_killed_command_leaves_nothing_half(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.publish(board.run("one"))
    before = tree(board.root)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing.os, "replace", full)
    with pytest.raises(Exception, match="disk is full"):
        board.publish(board.run("two"))
    assert tree(board.root) == before


def test_a_link_out_of_the_boards_is_not_written_through(board: Board, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    board.root.mkdir()
    (board.root / "given-mask").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Mismatch, match="link"):
        board.publish(board.run())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_recompute_mends_tables_and_touches_nothing_else(board: Board) -> None:
    from robench.leaderboard.board import places

    board.publish(board.run("one"), board.run("two"))
    before = tree(board.root)
    main = board.folder / "main.csv"
    main.write_text(main.read_text().replace("one", "won"))
    assert not verify(board.root).sound
    assert publishing.recompute(board.root, places(board.root)) == [main]
    assert tree(board.root) == before
    assert publishing.recompute(board.root, places(board.root)) == []
