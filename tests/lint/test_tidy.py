#!/usr/bin/env python3
"""What tidy.py makes of clang-tidy's words: what it prints, what it counts, what it leaves out."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402

ERROR = ("/r/a.c:3:9: error: Dereference of null pointer [clang-analyzer-core.NullDereference,-warnings-as-errors]\n"
         "    x->y = 1;\n        ^\n")
NOTE = "/r/a.c:2:9: note: Assuming 'x' is null\n    if (!x)\n        ^\n"
LIST_NOTE = ("/usr/include/utlist.h:704:5: note: expanded from macro 'DL_DELETE'\n"
             "    DL_DELETE2(head,del,prev,next)\n    ^\n")
FREED = "/r/a.c:9:1: error: Use of memory after it is freed [clang-analyzer-unix.Malloc,-warnings-as-errors]\n"
HINT = "/r/a.c:1:5: warning: function 'f' exceeds recommended size/complexity thresholds [readability-function-size]\n"


class Judge(unittest.TestCase):
    def test_nothing_is_clean(self):
        self.assertEqual(tidy.judge(""), ("", 0))

    def test_error_is_printed_without_its_path(self):
        self.assertEqual(tidy.judge("12 warnings generated.\n" + ERROR + NOTE), (ERROR, 1))

    def test_hint_is_printed_and_not_counted(self):
        self.assertEqual(tidy.judge(HINT), (HINT, 0))

    def test_every_finding_counts(self):
        self.assertEqual(tidy.judge(ERROR + NOTE + HINT + ERROR), (ERROR + HINT + ERROR, 2))

    def test_freed_memory_counts_unless_the_path_leads_through_lists(self):
        self.assertEqual(tidy.judge(FREED + NOTE)[1], 1)
        self.assertEqual(tidy.judge(FREED + NOTE + LIST_NOTE), ("", 0))

    def test_null_in_a_list_macro_is_left_out_and_elsewhere_counts(self):
        self.assertEqual(tidy.judge(ERROR + LIST_NOTE), ("", 0))
        self.assertEqual(tidy.judge(ERROR + NOTE * 3 + LIST_NOTE)[1], 1)

    def test_size_of_a_pointer_in_an_array_is_left_out(self):
        said = "/r/a.c:1:1: error: suspicious usage of 'sizeof(A*)'; pointer to aggregate [bugprone-sizeof-expression]\n"
        self.assertEqual(tidy.judge(said), ("", 0))
        self.assertEqual(tidy.judge(said.replace("pointer to aggregate", "other"))[1], 1)


if __name__ == "__main__":
    unittest.main()
