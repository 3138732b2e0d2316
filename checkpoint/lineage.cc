#include "checkpoint/lineage.h"

#include <algorithm>
#include <optional>

#include "checkpoint/format.h"
#include "common/error.h"

namespace contrail::ckpt {

Lineages::Lineages(const FileSystem& fs, const std::vector<StepEntry>& steps) {
  for (const StepEntry& entry : steps) {
    Known& known = known_.emplace_back();
    known.step = entry.step;
    const std::string path = entry.dir + "/" + kCommitName;
    const std::string text = entry.unreadable == 0 ? fs.ReadAll(path) : "";
    try {
      const Manifest manifest = DecodeManifest(text, path);
      known.attempt = manifest.state.attempt;
      known.lineage = manifest.lineage;
      known.parent = manifest.state.parent;
    } catch (const Error&) {  // whoever opens the step says why
    }
  }
}

std::vector<size_t> Lineages::Back(size_t head) const {
  std::vector<size_t> chain = {head};
  for (;;) {
    const Known& at = known_[chain.back()];
    if (at.lineage.empty()) return chain;
    std::optional<size_t> sibling, parent;
    for (size_t i = 0; i < known_.size(); ++i) {
      const Known& other = known_[i];
      if (other.step >= at.step || other.lineage.empty()) continue;
      if (other.lineage == at.parent) parent = i;
      // An older program's: the attempt's steps share one parent, and the next lower one is
      // between.
      const bool same = other.attempt == at.attempt && other.parent == at.parent;
      if (same && (!sibling || known_[*sibling].step < other.step)) sibling = i;
    }
    if (!sibling && !parent) return chain;
    chain.push_back(sibling ? *sibling : *parent);
  }
}

bool Lineages::ComesFrom(size_t step, const std::string& lineage) const {
  if (lineage.empty()) return false;
  const std::vector<size_t> chain = Back(step);
  return std::any_of(chain.begin(), chain.end(), [&](size_t i) {
    return known_[i].parent == lineage || (i != step && known_[i].lineage == lineage);
  });
}

}  // namespace contrail::ckpt
