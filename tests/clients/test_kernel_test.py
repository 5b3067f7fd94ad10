"""jupyter_kernel_test, what kernels are judged by, against the native attach."""

import pytest
from drive import native, programs

EXPECTED = {
    "test_kernel_info",
    "test_execute_stdout",
    "test_execute_stderr",
    "test_completion",
    "test_is_complete",
    "test_pager",
    "test_error",
    "test_execute_result",
    "test_display_data",
    "test_history",
    "test_inspect",
    "test_clear_output",
    "test_recv_iopub_welcome_msg",
}


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_kernel_test_passes(one, transport):
    if not one.ours and transport == "ipc":
        pytest.skip("one is enough")
    with native.attached(one, "--transport", transport) as file:
        saw = programs.python("conformance.py", file)
    assert set(saw["ran"]) == EXPECTED
    assert saw["failed"] == {}, "\n".join(saw["failed"].values())
    assert list(saw["skipped"].values()) == ["History range not supported"], saw["skipped"]
