#include "worker/foreign_error.h"

#include <ATen/ops/empty.h>
#include <gmock/gmock.h>

#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace contrail::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ForeignError, ByWhatIsMissing) {
  struct Row {
    std::exception_ptr error;
    const char* id;
    ErrorKind kind;
  };
  const auto of = [](int number) {
    return std::make_exception_ptr(std::system_error(number, std::generic_category(), "thread"));
  };
  for (const Row& row : {
           Row{std::make_exception_ptr(std::bad_alloc()), "E-MEMORY", ErrorKind::kEnvironment},
           Row{of(ENOMEM), "E-MEMORY", ErrorKind::kEnvironment},
           Row{of(EAGAIN), "E-THREADS", ErrorKind::kEnvironment},
           Row{of(EIO), "E-IO", ErrorKind::kEnvironment},
           Row{std::make_exception_ptr(std::logic_error("odd")), "E-BUG", ErrorKind::kBug},
           Row{std::make_exception_ptr(UserError("E-RANKS", "a", "b")), "E-RANKS",
               ErrorKind::kUser},
       }) {
    try {
      std::rethrow_exception(row.error);
    } catch (const std::exception& error) {
      EXPECT_EQ(AsError(error).id(), row.id);
      EXPECT_EQ(AsError(error).kind(), row.kind) << row.id;
    }
  }
}

TEST(ForeignError, LibTorchOutOfMemoryIsNoBug) {
  try {
    at::empty({int64_t{1} << 50}, at::kFloat);
    FAIL() << "4 PB";
  } catch (const std::exception& error) {
    const Error ours = AsError(error);
    EXPECT_EQ(ours.id(), "E-MEMORY") << error.what();
    EXPECT_EQ(ours.kind(), ErrorKind::kEnvironment);
    EXPECT_THAT(ours.what(), Not(HasSubstr("\n")));
  }
}

TEST(ForeignError, LibTorchsOwnErrorsAreOfTheSurroundings) {
  try {
    TORCH_CHECK(false, "a device is lost");
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_EQ(AsError(error).id(), "E-TORCH");
    EXPECT_THAT(AsError(error).what(), HasSubstr("a device is lost"));
  }
}

}  // namespace
}  // namespace contrail::worker
