#include "launcher/blame.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <tuple>

#include "launcher/process.h"

namespace contrail::launcher {
namespace {

constexpr double kOthersSpeak = 2;    // seconds for the other ranks of this node
constexpr double kMpirunEnds = 10;    // seconds, with several nodes
constexpr double kRecordsShow = 5;    // seconds for end records of other nodes
constexpr double kNoticeShows = 0.5;  // seconds for mpirun's last words
constexpr double kAskedPatience = 1;  // seconds where somebody waits for us to stop

enum Class { kUserMistake, kBugSaid, kErrorSaid, kWordless, kOfCommunication };

// What ranks say whose peer is gone or does not come.
bool OfCommunication(const std::string& id) {
  return id == "E-MPI-COLLECTIVE" || id == "E-MPI-TIMEOUT";
}

Class ClassOf(const RankEnd& end) {
  if (!end.record) return kWordless;
  if (end.record->outcome == "user_error") return kUserMistake;
  if (end.record->outcome == "bug") return kBugSaid;
  return OfCommunication(end.record->error_id) ? kOfCommunication : kErrorSaid;
}

Cause CauseOf(const RankEnd& end) {
  if (!end.record) return Cause::kRankDied;
  if (end.record->outcome == "user_error") return Cause::kUserError;
  if (end.record->error_id == "E-NONFINITE") return Cause::kBadSteps;
  if (end.record->error_id == "E-REPLICA") return Cause::kReplica;
  return end.record->outcome == "bug" ? Cause::kBug : Cause::kError;
}

std::string HostOf(const RankEnd& end) {
  return end.record && !end.record->host.empty() ? end.record->host : end.host;
}

std::string HostOf(const Evidence& evidence, int rank) {
  for (const RankEnd& end : evidence.ends) {
    if (end.rank == rank) return HostOf(end);
  }
  return "";
}

// Deaths that the program itself may have caused: seen twice at the same step, they will be again.
bool ByItsOwnFault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
         signal == SIGABRT;
}

// How mpirun ends what it does not need any more.
bool FromOutside(const RankEnd& end) {
  return !end.status || (WIFSIGNALED(*end.status) && !ByItsOwnFault(WTERMSIG(*end.status)));
}

// The best of a class, or nullptr.
const RankEnd* FirstOf(const Evidence& evidence, Class wanted) {
  const RankEnd* first = nullptr;
  const auto order = [](const RankEnd& end) {
    // Own words are dated by what the rank had come to, deaths by when they were noticed.
    return std::make_tuple(end.record ? 0 : end.noticed, !end.record && FromOutside(end),
                           end.record ? end.record->collective : end.collective, end.rank);
  };
  for (const RankEnd& end : evidence.ends) {
    if (end.Good() || ClassOf(end) != wanted) continue;
    if (first == nullptr || order(end) < order(*first)) first = &end;
  }
  return first;
}

Failure SaidBy(const Evidence& evidence, const RankEnd& end) {
  Failure failure;
  failure.cause = CauseOf(end);
  failure.rank = end.rank;
  failure.host = HostOf(end);
  failure.error_id = end.record->error_id;
  failure.detail = end.record->message;
  failure.step = std::max(end.step, end.record->step);
  // All ranks said the same, and whose fault it was where they know.
  if (failure.cause == Cause::kBadSteps || failure.cause == Cause::kReplica) {
    failure.rank = -1;
    failure.host.clear();
  }
  if (const int culprit = end.record->culprit; culprit >= 0 && culprit != end.rank) {
    failure.rank = culprit;  // which may not have ended yet
    failure.host = HostOf(evidence, culprit);
  } else if (culprit >= 0) {
    failure.rank = culprit;
    failure.host = HostOf(end);
  }
  return failure;
}

// A rank that others waited for until their patience ended.
std::optional<Failure> NamedByOthers(const Evidence& evidence) {
  for (const RankEnd& witness : evidence.ends) {
    if (!witness.record || witness.record->missing.empty()) continue;
    Failure failure;
    failure.cause = Cause::kRankHung;
    failure.rank = witness.record->missing[0];
    failure.detail = witness.record->message;
    failure.step = witness.record->step;
    failure.host = HostOf(evidence, failure.rank);
    return failure;
  }
  return std::nullopt;
}

Failure Died(int rank, const std::string& host, const std::string& detail) {
  Failure failure;
  failure.cause = Cause::kRankDied;
  failure.rank = rank;
  failure.host = host;
  failure.detail = detail;
  return failure;
}

Failure DiedHere(const RankEnd& end) {
  Failure failure = Died(end.rank, end.host, DescribeExit(end.status));
  failure.step = end.step;
  if (end.status && WIFSIGNALED(*end.status) && ByItsOwnFault(WTERMSIG(*end.status))) {
    failure.error_id = "signal " + std::to_string(WTERMSIG(*end.status));
  }
  return failure;
}

bool KilledBySignal(const std::optional<int>& status) { return status && WIFSIGNALED(*status); }

// Ranks that nobody has heard of.
std::vector<int> Missing(const Evidence& evidence) {
  std::vector<bool> heard(static_cast<size_t>(evidence.ranks));
  for (const RankEnd& end : evidence.ends) {
    if (end.rank >= 0 && end.rank < evidence.ranks) heard[static_cast<size_t>(end.rank)] = true;
  }
  std::vector<int> missing;
  for (int rank = 0; rank < evidence.ranks; ++rank) {
    if (!heard[static_cast<size_t>(rank)]) missing.push_back(rank);
  }
  return missing;
}

// mpirun is gone, and nobody says why.
Failure MpirunEnded(const Evidence& evidence) {
  const std::string how = "mpirun " + DescribeExit(evidence.mpirun);
  const std::vector<int> missing = Missing(evidence);
  if (evidence.shown == 0 && std::ssize(missing) == evidence.ranks) {
    Failure failure = Died(-1, "", how);
    failure.cause = Cause::kStartFailed;
    return failure;
  }
  // One rank of another node without a word, where all others have said theirs.
  if (missing.size() == 1 && !evidence.one_node) {
    return Died(missing[0], "", "gone, and " + how);
  }
  return Died(-1, "", how);
}

bool SentToTheJob(const Evidence& evidence) {
  int sent = 0, elsewhere = 0, elsewhere_with_daemon = 0;
  bool by_term = false;
  for (const RankEnd& end : evidence.ends) {
    if (!end.record) continue;
    if (end.record->signal != 0) ++sent;
    by_term = by_term || end.record->signal == SIGTERM;
    // Two nodes may be one host.
    if (end.record->host == evidence.host && end.record->daemon == evidence.mpirun_pid) continue;
    ++elsewhere;
    if (end.record->signal != 0 && end.record->daemon_asked) ++elsewhere_with_daemon;
  }
  if (sent == evidence.ranks) return evidence.allocation || !by_term;
  return evidence.allocation && elsewhere > 0 && elsewhere_with_daemon == elsewhere;
}

// Every rank that is heard of ended well.
Verdict EndedWell(const Evidence& evidence) {
  bool stopped = false;
  const RankEnd* sent = nullptr;
  for (const RankEnd& end : evidence.ends) {
    stopped = stopped || end.record->outcome == "stopped";
    if (end.record->signal != 0 && (sent == nullptr || end.rank < sent->rank)) sent = &end;
  }
  if (!stopped) return {Verdict::Kind::kDone};
  if (evidence.asked || sent == nullptr || SentToTheJob(evidence)) return {Verdict::Kind::kStopped};
  Verdict verdict{Verdict::Kind::kFailed};
  verdict.failure = Died(sent->rank, HostOf(*sent),
                         std::string("was sent SIG") + sigabbrev_np(sent->record->signal) +
                             " by somebody else; all ranks saved and stopped");
  verdict.failure.cause = Cause::kRankTerminated;
  verdict.failure.step = sent->record->step;
  return verdict;
}

// Every witness that a judgement may need has been heard, or had its time.
bool Heard(const Evidence& evidence) {
  const bool ended = evidence.mpirun.has_value();
  const double since_mpirun = evidence.now - evidence.mpirun_ended;
  double first = evidence.now;
  for (const RankEnd& end : evidence.ends) {
    if (!end.Good() && end.noticed > 0) first = std::min(first, end.noticed);
  }
  const double since_first = evidence.now - first;
  const bool spoken = FirstOf(evidence, kUserMistake) != nullptr ||
                      FirstOf(evidence, kBugSaid) != nullptr ||
                      FirstOf(evidence, kErrorSaid) != nullptr;
  const bool all = Missing(evidence).empty();
  if (!evidence.one_node) {
    if (!ended) return since_first > kMpirunEnds;
    if (since_mpirun > kRecordsShow) return true;
    return evidence.records_read &&
           (spoken || all || (evidence.notice && evidence.notice->killed) ||
            KilledBySignal(evidence.mpirun));
  }
  if (ended && evidence.shown < evidence.ranks) {
    return evidence.records_read || since_mpirun > kRecordsShow;
  }
  if (all || KilledBySignal(evidence.mpirun)) return true;
  if (spoken || FirstOf(evidence, kOfCommunication) != nullptr) return since_first > kOthersSpeak;
  // Deaths without a word: the first one is the cause, unless two came at once.
  int at_once = 0;
  for (const RankEnd& end : evidence.ends) {
    if (!end.Good() && end.noticed <= first) ++at_once;
  }
  if (at_once == 1) return true;
  if (!ended) return since_first > kOthersSpeak;
  return evidence.notice || since_mpirun > kNoticeShows;
}

}  // namespace

std::optional<Failure> FirstCause(const Evidence& evidence) {
  for (const Class spoken : {kUserMistake, kBugSaid, kErrorSaid}) {
    if (const RankEnd* end = FirstOf(evidence, spoken)) return SaidBy(evidence, *end);
  }
  if (auto absent = NamedByOthers(evidence)) return absent;
  if (KilledBySignal(evidence.mpirun)) return MpirunEnded(evidence);
  const RankEnd* wordless = FirstOf(evidence, kWordless);
  // On one node we see more than mpirun does, unless several ranks died between two looks.
  const auto first_look = [&](const RankEnd& end) {
    return !end.record && end.noticed <= wordless->noticed;
  };
  if (evidence.notice &&
      (!evidence.one_node || wordless == nullptr ||
       std::count_if(evidence.ends.begin(), evidence.ends.end(), first_look) > 1)) {
    return Died(evidence.notice->rank, evidence.notice->host, evidence.notice->detail);
  }
  if (wordless != nullptr) return DiedHere(*wordless);
  const RankEnd* cut_off = FirstOf(evidence, kOfCommunication);
  const bool others_missing = !evidence.one_node && evidence.mpirun && !Missing(evidence).empty();
  if (cut_off != nullptr && !others_missing) return SaidBy(evidence, *cut_off);
  if (evidence.mpirun) return MpirunEnded(evidence);
  if (cut_off != nullptr) return SaidBy(evidence, *cut_off);
  return std::nullopt;
}

Verdict Judge(const Evidence& evidence) {
  int good = 0;
  double last = 0;
  for (const RankEnd& end : evidence.ends) {
    if (end.Good()) ++good;
    last = std::max(last, end.noticed);
  }
  const bool bad = good < std::ssize(evidence.ends);
  if (!bad && good > 0) {
    if (!evidence.mpirun) {
      const double patience = evidence.asked ? kAskedPatience : evidence.patience;
      if (good < evidence.shown || evidence.now - last <= patience) return {};
      return EndedWell(evidence);
    }
    if (good == evidence.ranks) return EndedWell(evidence);
    // Whoever is done was committed together with all others: those of other nodes whose records
    // do not show up ended well, too.
    if (!evidence.one_node) {
      const bool time_is_up = evidence.now - evidence.mpirun_ended > kRecordsShow;
      return time_is_up ? EndedWell(evidence) : Verdict{};
    }
  }
  if ((!bad && !evidence.mpirun) || !Heard(evidence)) return {};
  const std::optional<Failure> failure = FirstCause(evidence);
  return failure ? Verdict{Verdict::Kind::kFailed, *failure} : Verdict{};
}

}  // namespace contrail::launcher
