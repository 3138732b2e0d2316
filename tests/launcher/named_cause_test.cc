#include "launcher/named_cause.h"

#include <gmock/gmock.h>

#include "common/strings.h"

namespace contrail::launcher {
namespace {

const std::string kFrame(74, '-');

std::deque<std::string> Lines(const std::string& text) {
  std::deque<std::string> lines;
  for (std::string& line : Split(text, '\n')) lines.push_back(std::move(line));
  return lines;
}

TEST(NamedCause, ANoticeIsItsFirstParagraphAndWhatItLists) {
  EXPECT_EQ(
      CauseInMpirunsWords(Lines(kFrame + "\n" +
                                "There are not enough slots available in the system to "
                                "satisfy the 5000\nslots that were requested by the "
                                "application:\n\n  /bin/true\n\nEither request fewer "
                                "slots for your application, or make more slots\navailable "
                                "for use.\n\nA \"slot\" is the Open MPI term for an "
                                "allocatable unit where we can\nlaunch a process.\n" +
                                kFrame)),
      "There are not enough slots available in the system to satisfy the 5000 slots that were "
      "requested by the application");
  EXPECT_EQ(CauseInMpirunsWords(Lines(
                kFrame +
                "\nA call to mkdir was unable to create the desired directory:\n\n"
                "  Directory: /proc/none\n  Error:     No such file or directory\n\n"
                "Please check to ensure you have adequate permissions to perform\nthe desired "
                "operation.\n" +
                kFrame +
                "\n[vm:1] [[13567,0],0] ORTE_ERROR_LOG: Error in file session_dir.c at line 107\n" +
                kFrame + "\nIt looks like orte_init failed for some reason;\n" + kFrame)),
            "A call to mkdir was unable to create the desired directory, Directory: /proc/none, "
            "Error:     No such file or directory");
}

TEST(NamedCause, WhatMpirunCalledSpeaksFirst) {
  EXPECT_EQ(CauseInMpirunsWords(Lines(
                "Welcome to node2!\nssh: Could not resolve hostname node9: Name or service "
                "not known\n" +
                kFrame + "\nORTE was unable to reliably start one or more daemons.\n" + kFrame)),
            "ssh: Could not resolve hostname node9: Name or service not known");
  EXPECT_EQ(CauseInMpirunsWords(Lines("mpirun: Error: unknown option \"--nosuch\"\nType 'mpirun "
                                      "--help' for usage.")),
            "mpirun: Error: unknown option \"--nosuch\"");
}

TEST(NamedCause, OrnamentsAndOddWordsAreNone) {
  EXPECT_EQ(CauseInMpirunsWords(Lines("***************\n***************")), "");
  EXPECT_EQ(CauseInMpirunsWords(Lines("the daemon went away\n********\n\nrank 0: bye")),
            "the daemon went away");
  EXPECT_EQ(CauseInRanksWords(
                Lines("rank 1: /opt/w: error while loading shared libraries: libmpi.so.40: cannot "
                      "open shared object file\nrank 1: continue.\nrank 1: ******\nrank 0: fine"),
                1),
            "/opt/w: error while loading shared libraries: libmpi.so.40: cannot open shared object "
            "file");
  EXPECT_EQ(CauseInRanksWords(Lines("rank 1: step 3\nrank 1: ****"), 1), "step 3");
  EXPECT_EQ(CauseInRanksWords({}, 1), "");
}

}  // namespace
}  // namespace contrail::launcher
