#include "launcher/blame.h"

#include <sys/wait.h>

#include <csignal>
#include <tuple>

#include "launcher/process.h"

namespace contrail::launcher {
namespace {

// What ranks say whose peer is gone or does not come.
bool OfCommunication(const std::string& id) {
  return id == "E-MPI-COLLECTIVE" || id == "E-MPI-TIMEOUT";
}

int Class(const RankEnd& end) {
  if (!end.record) return 3;
  if (end.record->outcome == "user_error") return 0;
  if (end.record->outcome == "bug") return 1;
  return OfCommunication(end.record->error_id) ? 4 : 2;
}

Cause CauseOf(const RankEnd& end) {
  if (!end.record) return Cause::kRankDied;
  if (end.record->outcome == "user_error") return Cause::kUserError;
  if (end.record->error_id == "E-NONFINITE") return Cause::kBadSteps;
  if (end.record->error_id == "E-REPLICA") return Cause::kReplica;
  return end.record->outcome == "bug" ? Cause::kBug : Cause::kError;
}

// Deaths that the program itself may have caused: seen twice at the same step, they will be again.
bool ByItsOwnFault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
         signal == SIGABRT;
}

// A rank that others waited for until their patience ended.
std::optional<Failure> NamedByOthers(const std::vector<RankEnd>& ends) {
  for (const RankEnd& witness : ends) {
    if (!witness.record || witness.record->missing.empty()) continue;
    Failure failure;
    failure.cause = Cause::kRankHung;
    failure.rank = witness.record->missing[0];
    failure.detail = witness.record->message;
    failure.step = witness.record->step;
    for (const RankEnd& end : ends) {
      if (end.rank == failure.rank) failure.host = end.host;
    }
    return failure;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Failure> FirstCause(const std::vector<RankEnd>& ends) {
  const RankEnd* first = nullptr;
  const auto order = [](const RankEnd& end) {
    const uint64_t collective = end.record ? end.record->collective : end.collective;
    return std::make_tuple(Class(end), collective, end.rank);
  };
  for (const RankEnd& end : ends) {
    if (!end.Good() && (first == nullptr || order(end) < order(*first))) first = &end;
  }
  if (first == nullptr) return std::nullopt;
  if (Class(*first) >= 3) {
    if (auto absent = NamedByOthers(ends)) return absent;
  }
  Failure failure;
  failure.cause = CauseOf(*first);
  failure.rank = first->rank;
  failure.host = first->host;
  failure.step = first->step;
  if (first->record) {
    failure.error_id = first->record->error_id;
    failure.detail = first->record->message;
    if (!first->record->host.empty()) failure.host = first->record->host;
    failure.step = std::max(failure.step, first->record->step);
    // All ranks said the same, and whose fault it was where they know.
    if (failure.cause == Cause::kBadSteps || failure.cause == Cause::kReplica) {
      failure.rank = -1;
      failure.host.clear();
    }
    if (const int culprit = first->record->culprit; culprit >= 0) {
      if (culprit != failure.rank) failure.host.clear();
      failure.rank = culprit;  // which may not have ended yet
      for (const RankEnd& end : ends) {
        if (end.rank != culprit) continue;
        failure.host = end.record && !end.record->host.empty() ? end.record->host : end.host;
      }
    }
  } else {
    failure.detail = DescribeExit(first->status);
    if (first->status && WIFSIGNALED(*first->status) && ByItsOwnFault(WTERMSIG(*first->status))) {
      failure.error_id = "signal " + std::to_string(WTERMSIG(*first->status));
    }
  }
  return failure;
}

}  // namespace contrail::launcher
