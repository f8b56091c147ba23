"""`souverain street pose`, as somebody types it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from souverain.street.ingest_commands import pose


def test_when_no_file_could_be_read_it_failed(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("rien")
    done = CliRunner().invoke(pose, [str(text), str(tmp_path / "absent.jpg")])
    assert done.exit_code == 1 and "absent.jpg" in done.output


def test_a_pose_is_said_in_words(street_data: Path) -> None:
    done = CliRunner().invoke(pose, [str(street_data / "pano_gopromax_seq_1.jpg")])
    assert done.exit_code == 0, done.output
    assert "longitude " in done.output and "5760 pixels de large" in done.output
    assert "None" not in done.output and "{" not in done.output
