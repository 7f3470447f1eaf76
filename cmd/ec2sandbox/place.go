//go:build linux

package main

import (
	"context"
	"regexp"
	"strings"

	"snapsource/ec2ops/ec2test"
)

// furtherRegions are the regions that exist besides the default one.
var furtherRegions = []string{"ap-southeast-2", "eu-central-1", "eu-west-1", "us-east-1"}

// accountNumber matches the number of an account.
var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// placed returns the server for the account and region of an instance: those of the live instance with the
// name, else those of the command line.
func placed(ctx context.Context, home *ec2test.Server, o runOptions) (*ec2test.Server, error) {
	wanted := home.Place()
	if o.account != "" {
		wanted.Account = o.account
	}
	if o.region != "" {
		wanted.Region = o.region
	}
	if !accountNumber.MatchString(wanted.Account) {
		return nil, usage("--account %q is not the number of an account, which has 12 digits", wanted.Account)
	}
	at, err := home.Where(ctx, o.name)
	if err != nil {
		return nil, err
	}
	if at == nil {
		if at = home.At(wanted); at == nil {
			return nil, usage("--region %q is none of %s, %s", wanted.Region, home.Place().Region, strings.Join(furtherRegions, ", "))
		}
		return at, nil
	}
	is := at.Place()
	if o.account != "" && o.account != is.Account || o.region != "" && o.region != is.Region {
		return nil, usage("%s exists already, in account %s and region %s; --account and --region are for a new instance", o.name, is.Account, is.Region)
	}
	return at, nil
}
