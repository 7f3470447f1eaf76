// Package iam evaluates identity-based policies as IAM documents it, for the fake EC2, and checks
// policies against IAM's grammar and the tables of the service authorization reference.
//
// It knows what the policies of this project use: Allow and Deny, actions and resources with
// wildcards, the condition operators of [Operators], and policy variables. [Parse] refuses
// anything else, because a policy that is evaluated in part proves nothing.
//
// Only tests and cmd/ec2sandbox import it.
package iam
