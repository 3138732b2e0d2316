#include "worker/comm/roll_call.h"

#include <time.h>

#include <algorithm>

namespace contrail::worker {
namespace {

constexpr int kQuestion = 1;
constexpr int kAnswer = 2;
constexpr double kPatience = 2;        // seconds: a live process answers within a few tenths
constexpr long kPauseNs = 10'000'000;  // between looks for answers
constexpr size_t kNamed = 8;           // at most so many ranks in the line

}  // namespace

RollCall::RollCall(MPI_Comm comm, Ledger& ledger) : ledger_(ledger) {
  MPI_Comm_dup(comm, &comm_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

RollCall::~RollCall() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized) MPI_Comm_free(&comm_);
}

// Messages of a few bytes are sent without waiting for the receiver: it may be gone.
void RollCall::Serve() {
  const std::unique_lock lock(serving_, std::try_to_lock);
  if (!lock) return;
  int asked = 0;
  MPI_Status status;
  while (MPI_Iprobe(MPI_ANY_SOURCE, kQuestion, comm_, &asked, &status) == MPI_SUCCESS && asked) {
    MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, kQuestion, comm_, MPI_STATUS_IGNORE);
    const Ledger::Standing now = ledger_.standing();
    const Answer answer{now.entered, now.done};
    MPI_Send(&answer, sizeof answer, MPI_BYTE, status.MPI_SOURCE, kAnswer, comm_);
  }
}

RollCall::Missing RollCall::Call(uint64_t sequence) {
  std::vector<Answer> answers(size_);
  std::vector<MPI_Request> expected(size_, MPI_REQUEST_NULL);
  std::vector<MPI_Request> sent(size_, MPI_REQUEST_NULL);
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    MPI_Irecv(&answers[r], sizeof(Answer), MPI_BYTE, r, kAnswer, comm_, &expected[r]);
    MPI_Isend(nullptr, 0, MPI_BYTE, r, kQuestion, comm_, &sent[r]);
  }
  const double end = MPI_Wtime() + kPatience;
  int all = 0;
  while (!all && MPI_Wtime() < end) {
    Serve();
    MPI_Testall(size_, expected.data(), &all, MPI_STATUSES_IGNORE);
    const timespec pause = {0, kPauseNs};
    nanosleep(&pause, nullptr);
  }

  Missing missing;
  std::vector<std::string> names;
  for (int r = 0; r < size_; ++r) {
    int answered = 0;
    MPI_Test(&expected[r], &answered, MPI_STATUS_IGNORE);
    const bool behind = answered && r != rank_ && answers[r].entered < sequence;
    if (!answered || behind) {
      missing.ranks.push_back(r);
      names.push_back(
          "rank " + std::to_string(r) +
          (behind ? " (at number " + std::to_string(answers[r].entered) + ")" : " (no answer)"));
    }
    if (!answered) {
      MPI_Cancel(&expected[r]);
      MPI_Wait(&expected[r], MPI_STATUS_IGNORE);
    }
    if (sent[r] != MPI_REQUEST_NULL) MPI_Request_free(&sent[r]);
  }
  if (names.empty()) {
    missing.text = "every rank has arrived and answers: the network does not deliver";
    return missing;
  }
  missing.text = "not arrived: ";
  for (size_t i = 0; i < std::min(names.size(), kNamed); ++i) {
    missing.text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kNamed) {
    missing.text += " and " + std::to_string(names.size() - kNamed) + " more";
  }
  return missing;
}

}  // namespace contrail::worker
