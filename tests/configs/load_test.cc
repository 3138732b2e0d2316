#include "configs/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/error.h"
#include "configs/schema.h"

namespace contrail {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kGood =
    "[model]\nname = \"tiny-vit\"\n[data]\ntrain = [\"a-{0..1}.tar\"]\n"
    "[train]\nsteps = 10\nglobal_batch_size = 64\nlr = 1e-3\n";

class LoadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("contrail_load_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string Write(const std::string& text, const std::string& name = "c.toml") {
    const std::string path = dir_ / name;
    std::ofstream(path) << text;
    return path;
  }

  // The message LoadConfig refuses `text` with.
  std::string Refusal(const std::string& text, const std::vector<std::string>& sets = {}) {
    try {
      LoadConfig(Write(text), sets);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUser) << error.what();
      EXPECT_EQ(error.exit_code(), 2);
      return error.what();
    }
    ADD_FAILURE() << "accepted:\n" << text;
    return "";
  }

  fs::path dir_;
};

TEST_F(LoadTest, ReadsValuesAndOrigins) {
  const Config config = LoadConfig(Write(kGood), {"train.lr=3e-4", "model.activation=gelu"});
  EXPECT_EQ(config.model.name, "tiny-vit");
  EXPECT_EQ(config.train.global_batch_size, 64);
  EXPECT_DOUBLE_EQ(config.train.lr, 3e-4);
  EXPECT_EQ(config.model.activation, "gelu");
  EXPECT_EQ(config.run.name, "c");
  EXPECT_EQ(config.origin.at("train.lr"), "--set");
  EXPECT_THAT(config.origin.at("train.steps"), HasSubstr("c.toml:6"));
  EXPECT_EQ(config.origin.count("train.beta1"), 0u);
  EXPECT_EQ(config.data.train.at(0), (dir_ / "a-{0..1}.tar").string());
}

TEST_F(LoadTest, ResolvedTomlReadsBackEqual) {
  const Config config = LoadConfig(
      Write(std::string(kGood) + "beta2 = 0.95\n[launcher]\nmpirun_args = [\"-q\", \"a b\"]\n"),
      {"run.seed=7", "run.name=a \"quoted\" name"});
  fs::create_directories(dir_ / "run");
  Write(ToToml(config), "run/config.toml");
  const Config back = LoadResolved(dir_ / "run");
  Config a = config;
  Config b = back;
  for (const KeySpec& spec : KeyTable()) {
    if (spec.IsPhase()) continue;
    EXPECT_EQ(FieldToToml(spec.of_config(a)), FieldToToml(spec.of_config(b))) << spec.key;
  }
  EXPECT_EQ(back.origin.at("run.seed"), "--set");
  EXPECT_THAT(back.origin.at("train.lr"), HasSubstr("c.toml:8"));
  EXPECT_EQ(TrainingFingerprint(config), TrainingFingerprint(back));
}

TEST_F(LoadTest, PhasesReadBackEqual) {
  const Config config =
      LoadConfig(Write("[data]\ntrain=[\"a.tar\"]\n[[phase]]\nepochs=32\nresolution=224\n"
                       "[[phase]]\nsteps=9\nresolution=336\nlr=2e-5\nwarmup_steps=0\n"));
  ASSERT_EQ(config.phase.size(), 2u);
  EXPECT_EQ(config.phase[1].steps, 9);
  EXPECT_EQ(config.phase[1].warmup_steps, 0);
  fs::create_directories(dir_ / "run");
  Write(ToToml(config), "run/config.toml");
  const Config back = LoadResolved(dir_ / "run");
  ASSERT_EQ(back.phase.size(), 2u);
  EXPECT_DOUBLE_EQ(back.phase[0].epochs, 32);
  EXPECT_DOUBLE_EQ(back.phase[1].lr, 2e-5);
  EXPECT_EQ(TrainingFingerprint(config), TrainingFingerprint(back));
}

// A run that was begun before there was a choice of orders keeps the one there was.
TEST_F(LoadTest, AnOlderRunKeepsItsOrder) {
  std::string toml = ToToml(LoadConfig(Write(kGood)));
  EXPECT_THAT(toml, HasSubstr("order = \"interleaved\"  # default"));
  fs::create_directories(dir_ / "run");
  Write(toml, "run/config.toml");
  EXPECT_EQ(LoadResolved(dir_ / "run").data.order, "interleaved");
  const size_t line = toml.find("order = ");
  toml.erase(line, toml.find('\n', line) + 1 - line);
  Write(toml, "run/config.toml");
  const Config older = LoadResolved(dir_ / "run");
  EXPECT_EQ(older.data.order, "windows");
  Write(ToToml(older), "run/config.toml");  // as `contrail resume --set` writes it
  EXPECT_EQ(LoadResolved(dir_ / "run").data.order, "windows");
  EXPECT_EQ(LoadResolved(dir_ / "run", {"data.order=interleaved"}).data.order, "interleaved");
}

TEST_F(LoadTest, SyntheticIsNoPathAndHasNothingToEvaluate) {
  const std::string text = "[data]\ntrain = \"synthetic\"\n[train]\nsteps = 1\n";
  const Config config = LoadConfig(Write(text));
  EXPECT_TRUE(config.synthetic());
  fs::create_directories(dir_ / "run");
  Write(ToToml(config), "run/config.toml");
  EXPECT_TRUE(LoadResolved(dir_ / "run").synthetic());
  try {
    LoadConfig(Write(text), {"eval.zero_shot=test"});
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("E-DATA-SYNTHETIC: --set: "));
  }
}

TEST_F(LoadTest, FingerprintIgnoresWhatDoesNotTrain) {
  const std::string path = Write(kGood);
  const std::string base = TrainingFingerprint(LoadConfig(path));
  EXPECT_EQ(base, TrainingFingerprint(LoadConfig(path, {"launcher.ranks=8"})));
  EXPECT_EQ(base, TrainingFingerprint(LoadConfig(path, {"checkpoint.keep_last=9"})));
  EXPECT_NE(base, TrainingFingerprint(LoadConfig(path, {"train.lr=2e-3"})));
  EXPECT_NE(base, TrainingFingerprint(LoadConfig(path, {"run.seed=1"})));
}

TEST_F(LoadTest, NamesTheMistake) {
  const std::string good = kGood;
  struct Case {
    std::string text;
    std::vector<std::string> says;
  };
  const std::vector<Case> cases = {
      {good + "lrr = 1\n", {"E-CONFIG-KEY", "c.toml:9", "'train.lrr'", "did you mean 'train.lr'?"}},
      {good + "seed = 1\n", {"E-CONFIG-KEY", "'train.seed'", "'seed' belongs to [run]"}},
      {good + "zzzzzzzzz = 1\n", {"E-CONFIG-KEY", "[train] has:", "warmup_steps"}},
      {"steps = 4\n" + good, {"E-CONFIG-KEY", "c.toml:1", "'steps' belongs to [train]"}},
      {"[trian]\nlr = 1\n" + good, {"E-CONFIG-KEY", "'trian.lr'"}},
      {good + "beta1 = \"0.9\"\n",
       {"E-CONFIG-TYPE", "c.toml:9", "'train.beta1' is a float", "string"}},
      {good + "warmup_steps = 1.5\n", {"E-CONFIG-TYPE", "'train.warmup_steps' is an int", "1.5"}},
      {good + "weight_decay = nan\n", {"E-CONFIG-RANGE", "'train.weight_decay' is nan", ">= 0"}},
      {good + "weight_decay = inf\n", {"E-CONFIG-RANGE", "inf"}},
      {good + "warmup_steps = -4\n", {"E-CONFIG-RANGE", "-4", ">= 0"}},
      {"[data]\ntrain=[\"a\"]\n[train]\nsteps=1\nlr = 0\n",
       {"E-CONFIG-RANGE", "'train.lr' is 0", "> 0"}},
      {"[data]\ntrain=[\"a\"]\n[train]\nsteps=1\nlr = -1\n", {"E-CONFIG-RANGE", "c.toml:5"}},
      {good + "loss = \"clop\"\n", {"E-CONFIG-CHOICE", "did you mean 'clip'?"}},
      {good + "precision = \"int4\"\n", {"E-CONFIG-CHOICE", "int4", "bf16"}},
      {good + "recompute = [\"text\", \"vitt\"]\n", {"E-CONFIG-CHOICE", "did you mean 'vit'?"}},
      {good + "epochs = 3\n", {"E-CONFIG-LENGTH", "both"}},
      {good + "[[phase]]\nepochs = 1\n", {"E-CONFIG-LENGTH", "[[phase]]"}},
      {"[data]\ntrain=[\"a\"]\n[[phase]]\nlr = 1.0\n",
       {"E-CONFIG-LENGTH", "needs epochs or steps"}},
      {"[data]\ntrain=[\"a\"]\n[[phase]]\nepoch = 1.0\n", {"E-CONFIG-KEY", "'phase.epoch'"}},
      {"[data]\ntrain=[\"a\"]\n[phase]\nepochs = 1\n", {"E-CONFIG-TYPE", "[[phase]]"}},
      {"[data]\ntrain=[\"a\"]\n", {"E-CONFIG-LENGTH", "neither"}},
      {"[train]\nsteps = 1\n", {"E-CONFIG-MISSING", "'data.train' is missing"}},
      {"[train\nsteps = 1\n", {"E-CONFIG-TOML", "c.toml:1"}},
      {"[data]\ntrain = [1, 2]\n", {"E-CONFIG-TYPE", "list of strings"}},
      {good + "lr = 2\n", {"E-CONFIG-TOML", "c.toml:9"}},
      {good + "[slurm]\naccount = \"x\"\n",
       {"E-CONFIG-KEY", "c.toml:10", "'slurm.account'", "`contrail submit`", "--account"}},
      {"slurm = 1\n" + good, {"E-CONFIG-KEY", "`contrail submit`"}},
  };
  for (const Case& c : cases) {
    const std::string message = Refusal(c.text);
    for (const std::string& part : c.says) EXPECT_THAT(message, HasSubstr(part));
    EXPECT_EQ(message.find('\n'), std::string::npos) << "one line: " << message;
  }
}

TEST_F(LoadTest, NamesTheMistakeInSet) {
  EXPECT_THAT(Refusal(kGood, {"train.lr"}), HasSubstr("E-CONFIG-SET"));
  EXPECT_THAT(Refusal(kGood, {"train.lr=fast"}), HasSubstr("--set train.lr=fast"));
  EXPECT_THAT(Refusal(kGood, {"train.lrr=1"}), HasSubstr("did you mean 'train.lr'?"));
  EXPECT_THAT(Refusal(kGood, {"phase.lr=1"}), HasSubstr("[[phase]]"));
  EXPECT_THAT(Refusal(kGood, {"slurm.nodes=4"}), HasSubstr("`contrail submit`"));
  EXPECT_THAT(Refusal(kGood, {"train.lr=nan"}), HasSubstr("out of range"));
}

// Versions that took [slurm] wrote it into every run's config: such a run goes on.
TEST_F(LoadTest, ResolvedConfigOfAnEarlierVersion) {
  const Config config = LoadConfig(Write(kGood));
  fs::create_directories(dir_ / "run");
  Write(ToToml(config) + "\n[slurm]\naccount = \"x\"  # c.toml:9\nnodes = 1  # default\n",
        "run/config.toml");
  EXPECT_EQ(LoadResolved(dir_ / "run").train.steps, 10);
}

TEST_F(LoadTest, TextThatIsNoneIsAMistakeOfTheUser) {
  for (const char* bad : {"run.name=a\nb", "run.name=a\x1b[2J", "run.name=caf\xe9", "\x80=1",
                          "train.lr=1e-3\x7f", "data.train=[\"a\", \"b\x01\"]"}) {
    EXPECT_THAT(Refusal(kGood, {bad}), testing::StartsWith("E-CONFIG-SET: --set"));
  }
  EXPECT_EQ(LoadConfig(Write(kGood), {"run.name=naïve \"quoted\" \\ text"}).run.name,
            "naïve \"quoted\" \\ text");
  EXPECT_THAT(Refusal(std::string(kGood) + "# caf\xe9\n"),
              HasSubstr("c.toml:9: holds bytes that are no UTF-8"));
  EXPECT_THAT(Refusal(std::string(kGood) + std::string("\0", 1)), HasSubstr("E-CONFIG-TOML"));
  const std::string utf16 = std::string("\xff\xfe[\0m\0", 6);
  EXPECT_THAT(Refusal(utf16), HasSubstr("save the file as UTF-8"));
}

// A control character may be written as an escape, and comes back as one.
TEST_F(LoadTest, EscapesReadBackEqual) {
  const Config config =
      LoadConfig(Write(std::string(kGood) + "[run]\nname = \"a\\u0001\\u007fb\"\n"));
  EXPECT_EQ(config.run.name,
            "a\x01\x7f"
            "b");
  EXPECT_EQ(LoadConfig(Write(ToToml(config), "again.toml")).run.name, config.run.name);
}

TEST_F(LoadTest, APathThatIsNoTextIsRefusedBeforeItIsWritten) {
  fs::create_directories(dir_ / "caf\xe9");
  std::ofstream(dir_ / "caf\xe9/c.toml") << kGood;
  try {
    LoadConfig(dir_ / "caf\xe9/c.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("E-CONFIG-TYPE"));
    EXPECT_THAT(error.what(), HasSubstr("caf\\xe9"));
  }
}

TEST_F(LoadTest, MissingFile) {
  try {
    LoadConfig("/nowhere/x.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("E-CONFIG-FILE: /nowhere/x.toml"));
  }
}

// Every key of the table, misspelt by one letter, is refused with the right suggestion.
TEST_F(LoadTest, EveryKeyMisspelt) {
  for (const KeySpec& spec : KeyTable()) {
    if (spec.IsPhase()) continue;
    std::string wrong = spec.key;
    wrong.insert(wrong.size() - 1, "q");
    const std::string message = Refusal(kGood, {wrong + "=1"});
    EXPECT_THAT(message, HasSubstr("E-CONFIG-KEY"));
    EXPECT_THAT(message, HasSubstr("did you mean '"));
  }
}

}  // namespace
}  // namespace contrail
