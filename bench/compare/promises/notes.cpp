// The tables as Markdown: this writes notes/promises.md.
#include "answers.hpp"

#include "table.hpp"

#include <fmt/format.h>

#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

namespace growstack::compare::promises {
namespace {

std::string kernel() {
  utsname names{};
  require(uname(&names) == 0, "uname");
  const std::string release(names.release);
  return release.substr(0, release.find('-'));  // the rest is the distributor's
}

/// Returns what the kernel does with huge pages by itself: "always", "madvise" or "never"; "none"
/// if it has none.
std::string huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string modes;
  std::getline(file, modes);
  const std::size_t open = modes.find('[');
  return open == std::string::npos ? "none" : modes.substr(open + 1, modes.find(']') - open - 1);
}

std::string line(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

/// Returns what each promise of the family says, and the table. Subjects are lines here, because
/// there are more of them than fit beside each other.
std::string section(const Family& family, const Answers& answers) {
  std::string text = fmt::format("\n## {}\n\n{}\n\n", family.title, folded(family.setting));
  std::vector<std::string> titles{""};
  for (const Promise& promise : family.promises) {
    text += folded(fmt::format("- *{}*: {}", promise.title, promise.sentence), 2) + "\n";
    titles.emplace_back(promise.title);
  }
  text += "\n" + line(titles) + line(std::vector<std::string>(titles.size(), "---"));
  Footnotes footnotes;
  for (const Column& column : answers) {
    std::vector<std::string> cells{"`" + column.subject.name + "`"};
    for (const Promise& promise : family.promises) {
      cells.push_back(footnotes.marked(column.cells.at(promise.name)));
    }
    text += line(cells);
  }
  for (const std::string& note : footnotes.lines()) {
    text += "\n" + folded(note) + "\n";
  }
  return text;
}

}  // namespace

std::string markdown(const Answers& answers, const std::string& command) {
  std::string text =
      "# Promises\n\n" +
      folded(fmt::format(
          "This page shows which promises each kind of stack keeps: those of growstack's "
          "strategies, "
          "of threads of glibc, and of Boost.Context. Each cell is the result of an experiment "
          "that "
          "ran in a process of its own, on Linux {}, {} CPUs, huge pages: {}, {}. The name of a "
          "signal "
          "says that the process died of it. A program ran the experiments and wrote this page:",
          kernel(), sysconf(_SC_NPROCESSORS_ONLN), huge_pages(),
          geteuid() == 0 ? "as root" : "not as root"));
  text += fmt::format("\n\n    {}\n\nTo change the page, change the program.\n", command);
  for (const Family& family : families()) {
    text += section(family, answers);
  }
  text += "\n## Summary\n\n";
  for (const std::string& sentence : summary(answers)) {
    text += sentence.empty() ? "" : folded("- " + sentence, 2) + "\n";
  }
  return text + "\n[Which strategy when](which-strategy.md) turns the tables into advice.\n";
}

}  // namespace growstack::compare::promises
