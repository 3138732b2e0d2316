#include "configs/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace contrail {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ParsedArgs Parse(const std::vector<std::string>& args) { return ParseArgs(CommandTable(), args); }

std::string Refusal(const std::vector<std::string>& args) {
  try {
    Parse(args);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(CliTest, OptionsStandAnywhere) {
  const ParsedArgs a = Parse({"train", "--ranks", "4", "c.toml", "--set", "a.b=1", "--set=c.d=2"});
  EXPECT_EQ(a.command->name, "train");
  EXPECT_THAT(a.positional, ElementsAre("c.toml"));
  EXPECT_EQ(a.Int("--ranks", 1, 1, 100), 4);
  EXPECT_THAT(a.Values("--set"), ElementsAre("a.b=1", "c.d=2"));
  EXPECT_EQ(a.Value("--run", "none"), "none");
}

TEST(CliTest, TwoWordCommands) {
  const ParsedArgs a = Parse({"checkpoint", "verify", "runs/x", "--json"});
  EXPECT_EQ(a.command->name, "checkpoint verify");
  EXPECT_TRUE(a.Has("--json"));
  EXPECT_EQ(Parse({"eval", "zero-shot", "--dataset", "d"}).command->name, "eval zero-shot");
}

TEST(CliTest, NamesTheMistake) {
  EXPECT_THAT(Refusal({"trian", "c.toml"}), HasSubstr("did you mean 'train'?"));
  EXPECT_THAT(Refusal({"checkpoint"}), HasSubstr("list, show, verify, index, prune"));
  EXPECT_THAT(Refusal({"checkpoint", "lst"}), HasSubstr("did you mean 'checkpoint list'?"));
  EXPECT_THAT(Refusal({"train", "c.toml", "--rank", "4"}), HasSubstr("did you mean '--ranks'?"));
  EXPECT_THAT(Refusal({"train"}), HasSubstr("CONFIG.toml is missing"));
  EXPECT_THAT(Refusal({"train", "a", "b"}), HasSubstr("does not take 'b'"));
  EXPECT_THAT(Refusal({"train", "a", "--ranks"}), HasSubstr("needs a value: --ranks N"));
  EXPECT_THAT(Refusal({"train", "a", "--ranks", "--set", "x=1"}), HasSubstr("needs a value"));
  EXPECT_THAT(Refusal({"train", "a", "--ranks=1", "--ranks=2"}), HasSubstr("given twice"));
  EXPECT_THAT(Refusal({"view", "r", "--once=1"}), HasSubstr("takes no value"));
  EXPECT_THAT(Refusal({}), HasSubstr("no command given"));
}

TEST(CliTest, IntIsChecked) {
  for (const char* bad : {"0", "-1", "four", "1.5", "", "99999999999999999999"}) {
    const ParsedArgs a = Parse({"train", "c.toml", "--ranks", bad});
    EXPECT_THROW(a.Int("--ranks", 1, 1, 1000), Error) << bad;
  }
}

TEST(CliTest, EveryCommandIsInHelpCompletionAndManual) {
  const std::string overview = HelpOverview("contrail", CommandTable());
  const std::string completion = BashCompletion("contrail", CommandTable());
  const std::string manual = ManPage("contrail", CommandTable());
  for (const CommandSpec& command : CommandTable()) {
    EXPECT_THAT(overview, HasSubstr(command.name));
    EXPECT_THAT(completion, HasSubstr("'" + command.name + "')"));
    const std::string help = HelpCommand("contrail", command);
    EXPECT_THAT(help, HasSubstr(command.summary));
    for (const OptionSpec& option : command.options) {
      EXPECT_THAT(help, HasSubstr(option.name));
      EXPECT_THAT(completion, HasSubstr(option.name));
    }
    EXPECT_THAT(manual, HasSubstr(command.summary.substr(0, 8)));
  }
}

}  // namespace
}  // namespace contrail
