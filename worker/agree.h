#pragma once
// Errors that all ranks leave with together.
//
// A mistake found at the start (or a loss that is NaN everywhere) should end the job in order:
// every rank knows, one rank speaks. Errors of a single rank in mid-step cannot be agreed on;
// they abort the job.

#include <functional>
#include <string>

#include "common/error.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

class AgreedError : public Error {
 public:
  // `line` is the whole what() of the first failing rank's error.
  AgreedError(ErrorKind kind, const std::string& id, const std::string& line, bool speaks);
  AgreedError(const Error& error, bool speaks);
  // The rank whose fault it is, where one can be named; the launcher's incident says so.
  void Blame(int rank) { culprit_ = rank; }
  int culprit() const { return culprit_; }  // -1: nobody, or the rank that speaks
  bool speaks() const { return speaks_; }   // true on the one rank that prints the line

 private:
  bool speaks_;
  int culprit_ = -1;
};

// Runs `work` on every rank (a collective). Where it threw on any of them, every rank throws an
// AgreedError with the error of the lowest such rank.
void Together(Comm& comm, const std::function<void()>& work);

}  // namespace contrail::worker
