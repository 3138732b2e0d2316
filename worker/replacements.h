#pragma once
// Samples that could not be used and were replaced (data/replace.h): counted over all ranks,
// written to replaced.jsonl by rank 0, told on the screen, and too many of them stop the run.
//
// Ranks say in every step's pulse how many of their rows are replaced; only where there are any do
// they say which, and one rank writes.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/replace.h"
#include "monitoring/replaced.h"
#include "worker/agree.h"
#include "worker/comm/comm.h"
#include "worker/fence.h"
#include "worker/pulse.h"

namespace contrail::worker {

// E-DATA-REPLACED.
class TooManyReplaced : public AgreedError {
 public:
  using AgreedError::AgreedError;
};

class Replacements {
 public:
  struct Options {
    Writer writer;
    std::string data;  // fingerprint of the data set
    uint64_t global_batch_size = 1;
    double limit = 0;  // data.max_replaced; 0: nothing is replaced
    uint64_t resumed_step = 0;
    // Up to that step, as the checkpoint says.
    uint64_t consumed = 0;
    uint64_t replaced = 0;
  };
  // Collective. Reads what earlier attempts replaced after the step that this one goes on from.
  Replacements(Comm& comm, Options options);

  // For the loader: what holds from the resumed step on; nullptr where nothing may be replaced.
  std::shared_ptr<const data::KnownReplacements> known() const { return known_; }

  // Collective, after the pulse of every step; `done` steps were done before it, `mine` is of this
  // rank's rows. What was replaced is durable when it returns. Throws TooManyReplaced where more
  // than ten samples of the run are replaced and more than `limit` of all that were seen: a
  // function of the step, not of ranks or restarts. The step is not counted then. Throws
  // AgreedError where the record cannot be written.
  void Count(uint64_t done, const Verdict& verdict, const std::vector<data::Replaced>& mine);

  // Of all steps counted so far.
  uint64_t replaced() const { return replaced_; }
  uint64_t consumed() const { return consumed_; }

  // The key of what took this place of the last step that was counted; "" where none did.
  std::string KeyAt(data::Place place) const;

 private:
  std::vector<monitor::ReplacedSample> Gather(uint64_t step,
                                              const std::vector<data::Replaced>& mine);
  void Record(const std::vector<monitor::ReplacedSample>& samples);
  void Tell(const std::vector<monitor::ReplacedSample>& samples, uint64_t total, uint64_t seen);

  Comm& comm_;
  const Options options_;
  std::shared_ptr<const data::KnownReplacements> known_;
  uint64_t replaced_;
  uint64_t consumed_;
  std::map<data::Place, std::string> now_;  // of the last step: place -> key of what took it
  std::vector<std::string> named_;          // the first few of this attempt
  double told_at_ = 0;                      // 0: never
  uint64_t told_ = 0;                       // how many there were then
};

}  // namespace contrail::worker
