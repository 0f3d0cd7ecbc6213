// Package lua runs the scriptlets that packages have for the Lua interpreter inside
// rpm ("-p <lua>"): Lua with rpm's libraries posix and rpm, the table arg, print to
// standard output and rpm's own rules for os.exit and posix.exec.
//
// The language is Lua 5.1 with goto and some of what came later (table.pack,
// table.unpack, load of a string); rpm has used 5.1 to 5.4. The operators that 5.3
// brought (//, &, |, ~, <<, >>) are syntax errors here. No file of the root is loaded
// first, as rpm would do with init.lua.
//
// # Processes
//
// A script changes the working directory, the umask and the environment of its process,
// so each gets a process of its own: Command starts this program under another name,
// which Init recognizes.
//
// A Go program cannot be copied by fork(2), because its threads would not be. So
// posix.fork starts a new interpreter process which runs the script once more from
// its beginning. Whatever the script asked the world outside until then (every
// function of posix, os and io, the methods of files, rpm.execute and the like, print
// and random numbers) was recorded, results and errors, and the new process gets the
// recorded answers instead of doing anything again. Everything else in Lua is
// determined by that, so it arrives at the same fork with the same variables; there
// fork returns 0, and from then on it acts. Working directory, umask, environment and
// standard streams come from the parent, as after a real fork.
//
// What differs from fork: files and iterators over files that the script has opened
// before cannot be used in the child; using one is an error that says so, and so is a script that
// does not arrive at the fork in the same way, which one that looks at the addresses of
// tables might. A child that reaches the end of the script ends there, with a warning,
// as in rpm.
package lua
