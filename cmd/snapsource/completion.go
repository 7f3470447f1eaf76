package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
)

// strictCompletion makes cobra's command "completion" an error without a valid shell. Cobra would
// print its help on stdout, which a shell's start-up file then evaluates. It is called when the
// output is set: cobra's command keeps that.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic("cobra has no command completion: " + err.Error())
	}
	var shells []string
	for _, shell := range c.Commands() {
		shell.Args = noArguments
		shells = append(shells, shell.Name())
	}
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(_ *cobra.Command, args []string) error {
		which := "one of " + strings.Join(shells, ", ")
		if len(args) == 0 {
			return config.Usage("name the shell, " + which)
		}
		return config.Usage(fmt.Sprintf("completion: %q is not %s%s", args[0], which, config.DidYouMean(args[0], shells)))
	}
}
