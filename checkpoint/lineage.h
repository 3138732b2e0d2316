#pragma once
// Which step came from which. A step's parent (RunState::parent) is the lineage of the step that
// was committed before it on the way there, or, for an attempt's first, of the step it went on
// from. Steps of older programs name the latter all through an attempt.

#include <string>
#include <vector>

#include "checkpoint/load.h"

namespace contrail::ckpt {

class Lineages {
 public:
  // Reads the COMMIT of every step; E-IO where one cannot be read that could be a moment ago. A
  // step that is listed as unreadable, or whose COMMIT is no sound manifest (or of a later
  // version), has no lineage, and nothing comes from it.
  Lineages(const FileSystem& fs, const std::vector<StepEntry>& steps);

  // Indices into `steps`: `head`, then what it came from, newest first, as far as it is there.
  std::vector<size_t> Back(size_t head) const;
  // Whether the step came, in any number of steps, from one with that lineage; it need not be
  // there.
  bool ComesFrom(size_t step, const std::string& lineage) const;
  const std::string& Of(size_t step) const { return known_[step].lineage; }  // "": not known

 private:
  struct Known {
    uint64_t step = 0;
    uint64_t attempt = 0;
    std::string lineage;
    std::string parent;
  };
  std::vector<Known> known_;
};

}  // namespace contrail::ckpt
