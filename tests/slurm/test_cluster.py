import pytest, subprocess, time

pytestmark = pytest.mark.slurm


def test_x(cluster):
    time.sleep(3000)
