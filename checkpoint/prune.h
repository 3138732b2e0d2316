#pragma once
// Which steps stay, and how the others go.
//
// Steps are kept by lineage, not by number: a run that went back to an older step commits lower
// numbers than those of the branch it left. In this order, until `keep_last` usable steps are kept:
//
//   1. the head (what was committed last) and the steps it came from, newest first
//   2. steps of other branches: below the head the newest first, then those above it
//
// Every other usable step goes. What newest.json names always stays, so that what a resume starts
// from is never removed. Damaged steps count as none; they go once every kept step is newer, until
// then someone may want to look at them. Where no step is usable nothing goes.
//
// Links are never followed: of a step that is a link, the link goes and what it points to stays.

#include <string>
#include <vector>

#include "checkpoint/load.h"

namespace contrail::ckpt {

struct Retention {
  int keep_last = 1;  // at least 1
  // Temporary directories of attempts before this one go, too.
  uint64_t attempt = 0;
  // Directory of the head; "": the step that a resume would start from.
  std::string head = {};
};

struct Pruned {
  std::vector<std::string> removed;
  std::vector<std::string> problems;  // a line for each one that could not be removed, or read
};

// A directory is renamed before it is emptied, so a half-removed one never looks committed. Goes on
// past a directory that cannot be removed; a step that cannot be read stays. Throws E-IO where it
// cannot be told what is there or what a resume would start from, or E-CKPT-LOST (newest.h): then
// nothing was removed. Can be repeated.
Pruned Prune(FileSystem& fs, const std::string& checkpoints_dir, const Retention& retention);
// What Prune would remove.
Pruned PlanPrune(const FileSystem& fs, const std::string& checkpoints_dir,
                 const Retention& retention);

// Removes what dead writers left: half-removed directories, temporary ones of earlier attempts and
// of other owners of this one, and what was to become newest.json. For the start of attempt
// `attempt` of `owner`, which holds the run: a full disk has no room for them beside the next save.
Pruned RemoveLeftovers(FileSystem& fs, const std::string& checkpoints_dir, uint64_t attempt,
                       const std::string& owner);

}  // namespace contrail::ckpt
