"""jupyter_kernel_test against a kernel that runs: conformance.py CONNECTION_FILE

Prints which tests passed, failed and were skipped as one line of JSON.
"""

import json
import sys
import unittest

import jupyter_kernel_test
from jupyter_client.blocking import BlockingKernelClient

CONNECTION_FILE = sys.argv[1]


def client():
    made = BlockingKernelClient(connection_file=CONNECTION_FILE)
    made.load_connection_file()
    return made


class Attached(jupyter_kernel_test.KernelTests):
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    code_generate_error = "raise"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_page_something = "zip?"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    code_inspect_sample = "zip"
    code_history_pattern = "1?2*"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    # As its own sample for ipykernel has it, which calls the session that goes on 0 in a range.
    supported_history_operations = ("tail", "search")

    @classmethod
    def setUpClass(cls):
        cls.kc = client()
        cls.kc.start_channels()
        cls.kc.wait_for_ready(timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.kc.stop_channels()


class Welcome(jupyter_kernel_test.IopubWelcomeTests):
    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls):
        cls.kc = client()

    @classmethod
    def tearDownClass(cls):
        cls.kc.stop_channels()


if __name__ == "__main__":
    loader, result = unittest.TestLoader(), unittest.TestResult()
    suites = [loader.loadTestsFromTestCase(kind) for kind in (Attached, Welcome)]
    ran = [t._testMethodName for suite in suites for t in suite]
    unittest.TestSuite(suites).run(result)
    failed = {str(t): words for t, words in result.failures + result.errors}
    skipped = {str(t): why for t, why in result.skipped}
    print(json.dumps({"ran": ran, "failed": failed, "skipped": skipped}))
