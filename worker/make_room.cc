#include "worker/make_room.h"

#include <exception>
#include <memory>

#include "checkpoint/newest.h"
#include "checkpoint/prune.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "worker/errand.h"
#include "worker/tell_stays.h"

namespace contrail::worker {
namespace {

struct Found {
  std::exception_ptr refused;
  std::string problem;
};

void Tidy(FileSystem& fs, const RoomOrder& order) {
  const std::string dir = order.writer.run.Checkpoints();
  const auto attempt = static_cast<uint64_t>(order.writer.attempt);
  const auto tell = [&](const ckpt::Pruned& pruned) {
    TellStays(fs, order.writer, order.resumed_step, pruned.problems);
  };
  tell(ckpt::RemoveLeftovers(fs, dir, attempt, order.writer.owner));
  if (order.resumed_dir.empty()) return;
  const auto newest = ckpt::ReadNewest(fs, dir);
  if (newest && newest->step < order.resumed_step) {
    ckpt::GoOnFrom(fs, dir, {order.resumed_step, order.resumed_dir});
  }
  CheckFence(order.writer, fs);
  tell(ckpt::Prune(fs, dir,
                   {.keep_last = order.keep_last, .attempt = attempt, .head = order.resumed_dir}));
}

// On the thread that may have to be left.
void Work(FileSystem& fs, const RoomOrder& order, Found& found) {
  try {
    CheckFence(order.writer, fs);
  } catch (...) {
    found.refused = std::current_exception();
    return;
  }
  try {
    Tidy(fs, order);
  } catch (const std::exception& error) {
    found.problem = "old checkpoints and what dead saves left could not be removed: " +
                    std::string(error.what());
  }
}

}  // namespace

void MakeRoom(FileSystem& fs, const RoomOrder& order,
              const std::function<void(uint64_t operations)>& moved) {
  const auto found = std::make_shared<Found>();
  Errand errand(fs, [order, found](FileSystem& leashed) { Work(leashed, order, *found); });
  if (!errand.Wait(order.stall_seconds, moved)) {
    LogWarning("removing old checkpoints in " + order.writer.run.Checkpoints() +
               " has not moved for " + HumanSeconds(order.stall_seconds) +
               "; the run goes on without");
    return;
  }
  if (!found->problem.empty()) LogWarning(found->problem);
  if (found->refused) std::rethrow_exception(found->refused);
}

}  // namespace contrail::worker
