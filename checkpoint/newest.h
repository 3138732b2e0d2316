#pragma once
// RUN/checkpoints/newest.json: what was committed last. The directories alone cannot tell a run
// whose newest step is gone (another mount, an administrator, a damaged file system) from a run
// that is not as far: it would train the lost steps again, or all of them, and nobody would know.
//
// Written after every commit, before anything is pruned. A crash may come between a step's rename
// and newest.json: then the step is there, and comes from the one named.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/load.h"

namespace contrail::ckpt {

inline constexpr const char* kNewestName = "newest.json";

struct Newest {
  uint64_t step = 0;
  std::string dir;  // name inside the checkpoints directory
  std::string lineage;
  uint64_t attempt = 0;
};

inline constexpr const char* kNewestTemporary = "newest.json.tmp";  // and what else is in the name

// Both replace the file as a whole; the second by a text that it held before. Throw E-IO.
void WriteNewest(FileSystem& fs, const std::string& checkpoints_dir, const Newest& newest);
void ReplaceNewest(FileSystem& fs, const std::string& checkpoints_dir, const std::string& text);
// nullopt where there is none: nothing was committed yet, or by a program that did not know it.
// Throws E-IO where it cannot be read, E-CKPT-LOST where its text is damaged.
std::optional<Newest> ReadNewest(const FileSystem& fs, const std::string& checkpoints_dir);
// Says that the run goes on from this step: what a request to go back (--from) has to do, before it
// moves newer steps out of the way. Throws as StepReader::Open does.
void GoOnFrom(FileSystem& fs, const std::string& checkpoints_dir, const StepEntry& step);

// The steps that a resume may start from, best first; where `damage` says something, the step is
// known to be unusable, and the next one is a step back:
//
//   what came from the step that newest.json names (not yet named itself when a crash came)
//   that step; the steps it came from; other older ones
//
// Newer steps that did not come from it belong to another branch and are left out. Without
// newest.json: every step, by number. One that could not be read says so (`unreadable`) in the
// place that its number gives it; whoever reaches it there must stop (FirstUsable). Throws E-IO
// where it cannot be told what is there, and E-CKPT-LOST where the step named, and all that came
// from it, are gone.
std::vector<StepEntry> ResumeOrder(const FileSystem& fs, const std::string& checkpoints_dir);

}  // namespace contrail::ckpt
