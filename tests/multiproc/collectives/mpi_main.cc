#include "tests/multiproc/collectives/mpi_main.h"

#include <gtest/gtest.h>

#include <string_view>

#include "common/log.h"

namespace contrail::worker {
namespace {

Comm* world = nullptr;

// Only failures, one line each with the rank before it; rank 0 also prints what passed.
class RankPrinter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    LogError(std::string(result.file_name()) + ":" + std::to_string(result.line_number()) + ": " +
             result.message());
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (world->rank() > 0 && test.result()->Passed()) return;
    LogInfo(std::string(test.result()->Passed() ? "passed " : "FAILED ") + test.test_suite_name() +
            "." + test.name() + " (" + std::to_string(test.result()->elapsed_time()) + " ms)");
  }
};

}  // namespace

Comm& World() { return *world; }

}  // namespace contrail::worker

int main(int argc, char** argv) {
  using contrail::worker::world;
  testing::InitGoogleTest(&argc, argv);
  // An exception in one rank would leave the others waiting: let it end the job instead.
  testing::GTEST_FLAG(catch_exceptions) = false;
  // "staged" after GoogleTest's own arguments: the exchange of more ranks than a test has.
  const bool staged = argc > 1 && std::string_view(argv[1]) == "staged";
  auto comm = contrail::worker::MakeMpiComm(staged ? 0 : contrail::worker::kDirectRanks);
  world = comm.get();
  contrail::SetLogTag("rank " + std::to_string(comm->rank()));
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new contrail::worker::RankPrinter);
  const int failed = RUN_ALL_TESTS();
  comm.reset();
  contrail::worker::ShutdownMpi();
  return failed;
}
