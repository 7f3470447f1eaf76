package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"snapsource/agent/config"
)

// namedValue shows a name for a flag's value in the help, in place of a Go type.
type namedValue struct {
	pflag.Value
	name string
}

// Type returns the text behind the flag in the help.
func (v namedValue) Type() string { return v.name }

// nameValues names the values of a command's flags: "timeout", "DURATION", …
func nameValues(c *cobra.Command, flagsAndNames ...string) {
	for i := 0; i+1 < len(flagsAndNames); i += 2 {
		f := c.Flags().Lookup(flagsAndNames[i])
		f.Value = namedValue{f.Value, flagsAndNames[i+1]}
		if f.DefValue == "[]" { // an empty list is not shown as a default
			f.DefValue = ""
		}
	}
}

// complete has a shell complete a flag's values.
func complete(c *cobra.Command, flag string, values func() []string) {
	// The error is that of a flag that does not exist, or that is completed already.
	_ = c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
}

// flagError explains a wrong flag, and suggests the right one.
func flagError(c *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		name := "--" + unknown.GetSpecifiedName()
		return config.Usage("unknown flag: " + name + cmp.Or(config.DidYouMean(name, flagNames(c)), "; see "+c.CommandPath()+" --help"))
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return config.Usagef("--%s: %q %s", invalid.GetFlag().Name, invalid.GetValue(), whyInvalid(invalid))
	}
	return config.Usage(fmt.Sprintf("%v; see %s --help", err, c.CommandPath()))
}

// whyInvalid says what a flag's value is not, in the words of the settings.
func whyInvalid(err error) string {
	number, ok := errors.AsType[*strconv.NumError](err)
	switch {
	case !ok:
		return "is not a duration such as 90s or 10m" // all other flags accept any text
	case number.Func == "ParseBool":
		return "is neither true nor false"
	case errors.Is(number, strconv.ErrRange):
		return "is out of range"
	}
	return "is not a whole number"
}

// flagNames are the flags that the help of a command lists.
func flagNames(c *cobra.Command) (names []string) {
	c.Flags().VisitAll(func(f *pflag.Flag) { // with those of all commands
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// noArguments refuses all arguments but flags, for example a mistyped command.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasParent() {
		return config.Usage(fmt.Sprintf("%s takes no argument %q; see %s --help", c.CommandPath(), args[0], c.CommandPath()))
	}
	return noCommand(c, args[0])
}

// noCommand is the error of a mistyped command.
func noCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	return config.Usage(fmt.Sprintf("there is no command %q%s", name, cmp.Or(config.DidYouMean(name, names), "; see snapsource help")))
}

// exactArgs is cobra.ExactArgs with our exit code and message.
func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return config.Usage("usage: " + c.UseLine())
	}
}

// helpCommand is cobra's, but an unknown command is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "help about any command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(c.Root(), strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if len(args) == 0 {
				for _, other := range c.Root().Commands() {
					names = append(names, other.Name()+"\t"+other.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
