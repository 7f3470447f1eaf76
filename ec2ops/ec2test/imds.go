package ec2test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MetadataMode is the behaviour of the metadata service.
type MetadataMode string

// Modes of the metadata service.
const (
	MetadataOn        MetadataMode = ""        // version 2 only
	MetadataOff       MetadataMode = "off"     // HttpEndpoint disabled: 403
	MetadataV1        MetadataMode = "v1"      // version 1: no tokens, none needed
	MetadataRejecting MetadataMode = "reject"  // issues tokens and then refuses them
	MetadataMissing   MetadataMode = "missing" // not EC2's: 404 for everything
)

// Metadata are the options of the metadata service.
type Metadata struct {
	Mode   MetadataMode
	Tags   bool // InstanceMetadataTags enabled; off by default, as on EC2
	NoRole bool // the instance has no IAM role, hence no credentials
}

// Headers and limits of IMDSv2 (EC2 user guide, "Use IMDSv2").
const (
	tokenHeader    = "X-aws-ec2-metadata-token"
	tokenTTLHeader = "X-aws-ec2-metadata-token-ttl-seconds"
	maxTokenTTL    = 21600
)

// credentialLifetime is how long credentials from the metadata service last:
// about six hours.
const credentialLifetime = 6 * time.Hour

type imdsToken struct {
	instanceID string
	expires    time.Time
}

// versions are the top-level names of the metadata tree.
var versions = regexp.MustCompile(`^(latest|\d{4}-\d{2}-\d{2}|1\.0)$`)

// IMDS returns the metadata service of one instance.
func (s *Server) IMDS(instanceID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.refuses(true, time.Now()) {
			reset(w)
		}
		hit := s.count(metadataCall(r), time.Now())
		if s.before(w, r, hit, 0) {
			return
		}
		w.Header().Set("Server", "EC2ws")
		w.Header().Set("Content-Type", "text/plain")
		s.after(r, hit)
		writeFaulty(w, hit, func(w http.ResponseWriter) { s.serveMetadata(w, r, instanceID) })
	})
}

// metadataCall returns the name of a request in faults.
func metadataCall(r *http.Request) string {
	switch {
	case r.Method == http.MethodPut:
		return MetadataToken
	case strings.HasSuffix(r.URL.Path, "/instance-identity/document"):
		return MetadataDocument
	case strings.Contains(r.URL.Path, "/iam/security-credentials/"):
		return MetadataRole
	case strings.HasSuffix(r.URL.Path, "/autoscaling/target-lifecycle-state"):
		return MetadataTarget
	case strings.Contains(r.URL.Path, "/block-device-mapping"):
		return MetadataMapping
	}
	return AnyMetadata + "-other"
}

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request, instanceID string) {
	switch mode := s.opts.Metadata.Mode; {
	case mode == MetadataMissing:
		plainError(w, http.StatusNotFound)
	case mode == MetadataOff:
		plainError(w, http.StatusForbidden)
	case r.Method == http.MethodPut:
		s.putToken(w, r, instanceID)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		plainError(w, http.StatusMethodNotAllowed)
	case mode != MetadataV1 && !s.tokenValid(r, instanceID):
		plainError(w, http.StatusUnauthorized)
	default:
		s.getMetadata(w, r, instanceID)
	}
}

func plainError(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "%d - %s\n", status, http.StatusText(status))
}

func (s *Server) putToken(w http.ResponseWriter, r *http.Request, instanceID string) {
	if r.URL.Path != "/latest/api/token" || r.Header.Get("X-Forwarded-For") != "" {
		plainError(w, http.StatusForbidden)
		return
	}
	if s.opts.Metadata.Mode == MetadataV1 {
		plainError(w, http.StatusNotFound)
		return
	}
	ttl, err := strconv.Atoi(r.Header.Get(tokenTTLHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		plainError(w, http.StatusBadRequest)
		return
	}
	now, token := time.Now(), "AQAEA"+s.random.hex(48)+"=="
	s.mu.Lock()
	for old, t := range s.tokens {
		if reached(t.expires, now) {
			delete(s.tokens, old)
		}
	}
	s.tokens[token] = imdsToken{instanceID, now.Add(time.Duration(ttl) * time.Second)}
	s.mu.Unlock()
	w.Header().Set(tokenTTLHeader, strconv.Itoa(ttl))
	fmt.Fprint(w, token)
}

func (s *Server) tokenValid(r *http.Request, instanceID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, has := s.tokens[r.Header.Get(tokenHeader)]
	return has && t.instanceID == instanceID && time.Now().Before(t.expires) && s.opts.Metadata.Mode != MetadataRejecting
}

func (s *Server) getMetadata(w http.ResponseWriter, r *http.Request, instanceID string) {
	var leaves map[string]string
	if err := s.settle(r.Context()); err != nil {
		plainError(w, http.StatusInternalServerError)
		return
	}
	err := s.store.View(r.Context(), func(world *World) error {
		i := world.Instances[instanceID]
		if i == nil {
			return instanceNotFound(instanceID)
		}
		if shown := world.shown(time.Now()).Instances[instanceID]; shown != nil { // its tags
			late := *shown
			late.Mapped = i.Mapped
			i = &late
		}
		leaves = s.metadata(i, time.Now())
		if target := world.target(i.ID); target != "" {
			leaves["meta-data/autoscaling/target-lifecycle-state"] = target
		}
		return nil
	})
	if err != nil {
		plainError(w, http.StatusInternalServerError)
		return
	}
	version, path, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	if version == "" {
		fmt.Fprint(w, "latest")
		return
	}
	content, found := lookUp(leaves, path)
	if !found || !versions.MatchString(version) {
		plainError(w, http.StatusNotFound)
		return
	}
	fmt.Fprint(w, content)
}

// lookUp returns the content of a leaf, or a directory's listing, in which the names of
// directories end in a slash.
func lookUp(leaves map[string]string, path string) (content string, found bool) {
	if content, found := leaves[path]; found {
		return content, true
	}
	prefix := path + "/"
	if path == "" {
		prefix = ""
	}
	var names []string
	for leaf := range leaves {
		rest, below := strings.CutPrefix(leaf, prefix)
		if !below {
			continue
		}
		name, _, directory := strings.Cut(rest, "/")
		if directory {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// metadata returns an instance's own metadata by path. The block device mapping lists the volumes
// that "were present at launch time or when the instance was last started", "such as ebs1 or ebs2"
// (EC2 user guide, "Instance metadata categories"; a volume that is attached later is not listed:
// fog/fog#979). That the entry of a volume stays when it is detached follows from this sentence; no
// report of it is known. EC2's numbers have gaps: coreos/bugs#954 saw ebs5 for xvdf as the only
// further volume. So a program must list the directory.
func (s *Server) metadata(i *Instance, now time.Time) map[string]string {
	leaves := map[string]string{
		"dynamic/instance-identity/document":       s.identityDocument(i),
		"meta-data/ami-id":                         i.Image,
		"meta-data/block-device-mapping/ami":       i.RootDevice,
		"meta-data/block-device-mapping/root":      i.RootDevice,
		"meta-data/hostname":                       s.dnsName(i),
		"meta-data/instance-action":                "none",
		"meta-data/instance-id":                    i.ID,
		"meta-data/instance-life-cycle":            "on-demand",
		"meta-data/instance-type":                  i.Type,
		"meta-data/local-hostname":                 s.dnsName(i),
		"meta-data/local-ipv4":                     i.PrivateIP,
		"meta-data/mac":                            macOf(i),
		"meta-data/placement/availability-zone":    i.Zone,
		"meta-data/placement/availability-zone-id": s.zoneID(i.Zone),
		"meta-data/placement/region":               s.opts.Region,
		"meta-data/reservation-id":                 i.reservationID(),
		"meta-data/services/domain":                "amazonaws.com",
		"meta-data/services/partition":             "aws",
	}
	for n, device := range i.Mapped {
		leaves["meta-data/block-device-mapping/ebs"+strconv.Itoa(n+1)] = device
	}
	if i.UserData != "" {
		leaves["user-data"] = i.UserData
	}
	if s.opts.Metadata.Tags {
		for key, value := range i.Tags {
			leaves["meta-data/tags/instance/"+key] = value
		}
	}
	if !s.opts.Metadata.NoRole {
		leaves["meta-data/iam/info"] = document(map[string]string{
			"Code": "Success", "LastUpdated": seconds(now),
			"InstanceProfileArn": s.profileARN(), "InstanceProfileId": "AIPA0123456789EXAMPLE",
		})
		leaves["meta-data/iam/security-credentials/"+s.opts.Role] = document(map[string]string{
			"Code": "Success", "LastUpdated": seconds(now), "Type": "AWS-HMAC",
			"AccessKeyId": roleKey, "SecretAccessKey": roleSecret,
			"Token": "a-session-of-" + i.ID, "Expiration": seconds(now.Add(credentialLifetime)),
		})
	}
	return leaves
}

func (s *Server) profileARN() string {
	return "arn:aws:iam::" + s.opts.Account + ":instance-profile/" + s.opts.Role
}

func (s *Server) identityDocument(i *Instance) string {
	return document(map[string]any{
		"accountId": s.opts.Account, "architecture": "x86_64", "availabilityZone": i.Zone,
		"billingProducts": nil, "devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": i.Image, "instanceId": i.ID, "instanceType": i.Type, "kernelId": nil, "ramdiskId": nil,
		"pendingTime": seconds(i.Launched), "privateIp": i.PrivateIP, "region": s.opts.Region, "version": "2017-09-30",
	})
}

// macOf derives a locally administered MAC address from the instance's id.
func macOf(i *Instance) string {
	digits := i.ID[len(i.ID)-10:]
	mac := "02"
	for n := 0; n < len(digits); n += 2 {
		mac += ":" + digits[n:n+2]
	}
	return mac
}

func document(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return string(text)
}

func seconds(t time.Time) string { return t.UTC().Format(time.RFC3339) }
