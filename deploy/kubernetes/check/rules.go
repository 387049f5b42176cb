package main

import (
	"fmt"
	"strconv"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// workload is a Deployment or a StatefulSet.
type workload struct {
	name     string
	selector *meta.LabelSelector
	template core.PodTemplateSpec
	replicas *int32
	claims   []core.PersistentVolumeClaim
}

// look says what no schema knows: names that lead nowhere, pods that may too much, a drain that is
// given no time, two that both say how many there are.
func look(objects []any) (problems []string) {
	say := func(format string, values ...any) { problems = append(problems, fmt.Sprintf(format, values...)) }
	workloads, configs := map[string]workload{}, map[string]bool{}
	for _, object := range objects {
		switch o := object.(type) {
		case *apps.Deployment:
			workloads[o.Name] = workload{o.Name, o.Spec.Selector, o.Spec.Template, o.Spec.Replicas, nil}
		case *apps.StatefulSet:
			workloads[o.Name] = workload{o.Name, o.Spec.Selector, o.Spec.Template, o.Spec.Replicas, o.Spec.VolumeClaimTemplates}
		case *core.ConfigMap:
			configs[o.Name] = true
		}
	}
	for _, w := range workloads {
		if !selects(w.selector, w) {
			say("%s does not select its own pods", w.name)
		}
		confined(w, say)
		complete(w, configs, say)
		drained(w, say)
	}
	for _, object := range objects {
		switch o := object.(type) {
		case *policy.PodDisruptionBudget:
			if !anySelected(o.Spec.Selector, workloads) {
				say("budget %s is of no pods", o.Name)
			}
		case *core.Service:
			if !anySelected(&meta.LabelSelector{MatchLabels: o.Spec.Selector}, workloads) {
				say("service %s has no pods", o.Name)
			}
		case *scaledObject:
			target, there := workloads[o.Spec.ScaleTargetRef.Name]
			if !there {
				say("nothing to scale: %s", o.Spec.ScaleTargetRef.Name)
			} else if target.replicas != nil {
				say("%s says how many there are, and so does the scaler", target.name)
			}
			concurrency := value(target, "A3S_CONCURRENCY")
			for _, trigger := range o.Spec.Triggers {
				if trigger.Metadata["lagThreshold"] != concurrency {
					say("a worker runs %s tasks, the scaler thinks %s", concurrency, trigger.Metadata["lagThreshold"])
				}
			}
		}
	}
	return problems
}

// confined says what a pod may do that the restricted standard and we do not let it.
func confined(w workload, say func(string, ...any)) {
	pod := w.template.Spec
	is := func(b *bool) bool { return b != nil && *b }
	isNot := func(b *bool) bool { return b != nil && !*b }
	if c := pod.SecurityContext; c == nil || !is(c.RunAsNonRoot) || c.SeccompProfile == nil ||
		c.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		say("%s may be root, or call what it likes", w.name)
	}
	if !isNot(pod.AutomountServiceAccountToken) {
		say("%s gets a token of the API that it does not need", w.name)
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if s == nil || !isNot(s.AllowPrivilegeEscalation) || !is(s.ReadOnlyRootFilesystem) ||
			s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
			say("%s: container %s is not confined", w.name, c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			say("%s: container %s has no bounds", w.name, c.Name)
		}
	}
}

// complete says which volumes and configurations are named and not there.
func complete(w workload, configs map[string]bool, say func(string, ...any)) {
	volumes := map[string]bool{}
	for _, claim := range w.claims {
		volumes[claim.Name] = true
	}
	for _, volume := range w.template.Spec.Volumes {
		volumes[volume.Name] = true
		if c := volume.ConfigMap; c != nil && !configs[c.Name] {
			say("%s mounts ConfigMap %s, which is not there", w.name, c.Name)
		}
	}
	for _, c := range w.template.Spec.Containers {
		for _, mount := range c.VolumeMounts {
			if !volumes[mount.Name] {
				say("%s mounts volume %s, which is not there", w.name, mount.Name)
			}
		}
	}
}

// drained says when a pod that drains may be killed before it has.
func drained(w workload, say func(string, ...any)) {
	drain, err := strconv.ParseInt(value(w, "A3S_DRAIN"), 10, 64)
	if err != nil {
		return
	}
	if grace := w.template.Spec.TerminationGracePeriodSeconds; grace == nil || *grace < drain+15 {
		say("%s drains for %d s and is killed too early", w.name, drain)
	}
}

// value is that of a variable that is set outright.
func value(w workload, name string) string {
	for _, c := range w.template.Spec.Containers {
		for _, variable := range c.Env {
			if variable.Name == name {
				return variable.Value
			}
		}
	}
	return ""
}

func selects(selector *meta.LabelSelector, w workload) bool {
	wanted, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && !wanted.Empty() && wanted.Matches(labels.Set(w.template.Labels))
}

func anySelected(selector *meta.LabelSelector, workloads map[string]workload) bool {
	for _, w := range workloads {
		if selects(selector, w) {
			return true
		}
	}
	return false
}
