#pragma once
// What may block (a file system that hangs, a reader of stderr that stands still) is done on a
// thread of its own, one thing after another, so that the thread that watches never waits for it.

#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <utility>

namespace contrail::launcher {

class Background {
 public:
  // `capacity`: what may wait, in the units of Post.
  explicit Background(size_t capacity);
  // Waits at most two seconds for what is left; then the thread is left behind, with all it needs.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // `work` owns all it uses (it may outlive us) and keeps its failures to itself. False where too
  // much is waiting: then it is not done.
  bool Post(std::function<void()> work, size_t size = 1);
  // Waits until everything posted so far is done; false where that takes longer.
  bool Settle(double seconds);

  // The answer of `question`, or what it throws, some time; one that is refused has no state.
  template <typename Question>
  auto Start(Question question) -> std::future<decltype(question())> {
    const auto promise = std::make_shared<std::promise<decltype(question())>>();
    auto answer = promise->get_future();
    const bool posted = Post([promise, question] {
      try {
        promise->set_value(question());
      } catch (...) {
        promise->set_exception(std::current_exception());
      }
    });
    return posted ? std::move(answer) : decltype(answer)();
  }
  // The answer of `question`; nothing where it throws or takes longer than `seconds`.
  template <typename Question>
  auto Ask(Question question, double seconds) -> std::optional<decltype(question())> {
    auto answer = Start(std::move(question));
    const std::chrono::duration<double> limit(seconds);
    if (!answer.valid() || answer.wait_for(limit) != std::future_status::ready) return std::nullopt;
    try {
      return answer.get();
    } catch (const std::exception&) {
      return std::nullopt;
    }
  }

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace contrail::launcher
