"""The stand-in for CIFAR-10: files of the published format."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from data.tasks.cifar10_files import refused

from ssmbias.data.tasks import cifar10_format
from ssmbias.data.tasks.cifar10 import load_cifar10
from ssmbias.data.tasks.cifar10_format import FILES, MARKER
from ssmbias.data.tasks.cifar10_stand_in import write_stand_in


class TestStandIn:
    """Generated files of the same format."""

    def test_format_byte_by_byte(self, written):
        data = load_cifar10(written)
        for name, images, labels in (
            ("data_batch_2.bin", data.train_images[40:80], data.train_labels[40:80]),
            ("test_batch.bin", data.test_images, data.test_labels),
        ):
            content = (written / name).read_bytes()
            assert len(content) == 40 * 3073
            for number in (0, 1, 39):
                record = content[3073 * number : 3073 * (number + 1)]
                assert record[0] == labels[number]
                for plane, y, x in ((0, 0, 1), (0, 1, 0), (1, 7, 3), (2, 31, 31)):
                    value = record[1 + 1024 * plane + 32 * y + x]
                    assert value == images[number, y, x, plane]

    def test_every_file_is_balanced(self, written):
        for name in FILES:
            labels = np.frombuffer((written / name).read_bytes(), np.uint8)[::3073]
            assert np.bincount(labels).tolist() == [4] * 10

    def test_key_decides(self, written, tmp_path):
        again = write_stand_in(tmp_path / "a", jax.random.key(0), num_per_file=40)
        other = write_stand_in(tmp_path / "b", jax.random.key(1), num_per_file=40)
        for name in FILES:
            assert (again / name).read_bytes() == (written / name).read_bytes()
            assert (other / name).read_bytes() != (written / name).read_bytes()

    def test_can_be_learned_and_only_with_contrast(self, tmp_path):
        def accuracy(contrast):
            key = jax.random.key(2)
            data = load_cifar10(write_stand_in(tmp_path, key, num_per_file=40, contrast=contrast))
            train, test = (x.reshape(len(x), -1).astype(float) for x in (data[0], data[2]))
            means = np.stack([train[data.train_labels == k].mean(axis=0) for k in range(10)])
            distance = ((test[:, None] - means) ** 2).sum(axis=-1)
            return (distance.argmin(axis=1) == data.test_labels).mean()

        assert accuracy(0.15) == 1
        # Chance is .1; 40 images, so five standard deviations are .24.
        assert accuracy(0.0) < 0.34

    def test_real_files_are_never_overwritten(self, folder):
        (folder / MARKER).unlink()
        before = (folder / "test_batch.bin").read_bytes()
        with pytest.raises(ValueError, match="may be the real CIFAR-10; name another folder"):
            write_stand_in(folder, jax.random.key(3))
        assert (folder / "test_batch.bin").read_bytes() == before

    def test_half_written_one_is_refused(self, folder):
        # As after a kill while an earlier one of another size is being replaced.
        counts = dict.fromkeys(FILES, 50)
        (folder / MARKER).write_bytes(cifar10_format.marker_content(counts))
        refused(folder, "data_batch_1.bin has 40 records where 50 are expected")

    @pytest.mark.parametrize(
        "options",
        [{"num_per_file": 9}, {"num_per_file": 10_001}, {"noise": -1.0}, {"contrast": -1.0}],
    )
    def test_bad_options(self, options, tmp_path):
        with pytest.raises(ValueError, match=next(iter(options))):
            write_stand_in(tmp_path / "new", jax.random.key(0), **options)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        "content",
        ["", "[]", '{"schema": "other/1"}', '{"schema": "ssmbias.stand-in/1", "records": {}}'],
    )
    def test_damaged_marker(self, content, folder):
        (folder / MARKER).write_text(content)
        refused(folder, "STAND_IN.json is damaged")

    def test_marker_with_impossible_counts(self, folder):
        marker = json.loads((folder / MARKER).read_bytes())
        marker["records"]["test_batch.bin"] = 0
        (folder / MARKER).write_text(json.dumps(marker))
        refused(folder, "STAND_IN.json is not of this version")
