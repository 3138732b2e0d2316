#pragma once
// Of many lines of output the one that says why a program ended.

#include <deque>
#include <string>

namespace contrail::launcher {

// Of mpirun's last lines, untagged ones alone: an error of whatever it called (ssh, srun) or of its
// own, else the first paragraph of its first framed notice with the "Key: value" lines below it,
// else the last line that says anything. One line; empty where there is none.
std::string CauseInMpirunsWords(const std::deque<std::string>& lines);

// Of a rank's last lines ("rank 3: ..."): the last one that speaks of an error, else the last one
// that says anything; without its tag.
std::string CauseInRanksWords(const std::deque<std::string>& lines, int rank);

}  // namespace contrail::launcher
